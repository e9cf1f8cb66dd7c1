//! Help, manual pages and completions: what is written for people and packagers.
//!
//! The sections below are shown by `--help` and by the manual alike.

use std::{borrow::Cow, io};

use clap::{Command, CommandFactory, builder::styling::Styles};
use clap_complete::Shell;
use clap_mangen::{Man, roff};

use super::args::{Cli, VERSION};
use crate::config::variables;

/// A heading and its lines, which stay as they are.
type Section = (&'static str, Cow<'static, str>);

const EXAMPLES: Section = (
    "Examples",
    Cow::Borrowed(
        "\
pointsman run                                   the demo, one worker per core
pointsman run -- node app.js                    a Node program, as it is
pointsman run -w 4 -l :3000 -- node app.js      4 workers, port 3000 of every interface
pointsman run -e NODE_ENV=production -- node app.js
pointsman run -l :80 --user www-data -- node app.js     as root; workers are not
pointsman check -c pointsman.toml --origin      what would run, and who says so
pointsman status                                how it is: workers, connections, memory
pointsman reload --wait                         replace all workers, and see that it succeeds",
    ),
);

const SIGNALS: Section = (
    "Signals",
    Cow::Borrowed(
        "\
TERM, INT   stop: accept nothing more, let requests in flight finish within
            --stop-timeout; a second one stops at once
QUIT        stop, and wait for requests in flight as long as they take
HUP         reload: read the configuration anew and replace the workers, each
            when its successor is ready; if the terminal is gone, stop
TTIN, TTOU  one worker more, one fewer
WINCH       sent by kill: send all workers away, and go on listening
USR1        open files of output anew",
    ),
);

/// What is said of [`variables`], and those that are not of a key.
const OTHER_VARIABLES: &str = "            the keys of the file; they win over it, and flags win over them.
            Lists have commas between (LISTEN, MAP, DEPENDS) or blanks
            (PROGRAM, ARGS, CPU_AFFINITY, and LIMITS: nofile=65536 core=0)
NODE_CLUSTER_SCHED_POLICY
            rr or another policy, as for Node; POINTSMAN_POLICY wins
WEB_CONCURRENCY
            the number of workers if nothing else says it; they get 1 there
PORT        the port to listen on, on every interface, if nothing else says it
RUST_LOG    what is logged: error, warn, info (default), debug, trace
NO_COLOR, CLICOLOR_FORCE
            no colours, or colours without a terminal
Workers get PORT (with Unix sockets alone, the path of the first),
NODE_APP_INSTANCE and POINTSMAN_SLOT (their place, from 0),
POINTSMAN_ADDRESSES (all that is listened on, with commas between), and the
NODE_ variables of their channel; with --user, HOME, USER, LOGNAME and
SHELL of that user. Otherwise they get pointsman's own environment, over which
--env-file wins, then [env] of the file, then --env. An empty variable counts
as not set.";

const EXIT: Section = (
    "Exit status",
    Cow::Borrowed(
        "\
0 done    1 failed, or no such worker    2 usage    69 no master answers
70 a bug of pointsman    71 the system refused   75 not now, or not in time
77 not permitted         78 configuration",
    ),
);

const WHERE: Section = (
    "Which master",
    Cow::Borrowed(
        "\
The one of --name or --control, else of POINTSMAN_CONTROL or POINTSMAN_NAME,
else the one named default. A name is that of a socket, NAME.sock, in
RUNTIME_DIRECTORY, XDG_RUNTIME_DIR/pointsman, /run/pointsman or
/tmp/pointsman-UID; the first that answers is asked. root may, and the user
who runs the master, and the members of control_group.",
    ),
);

/// All commands, by what they are for.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Run", &["run", "check"]),
    ("See a running master", &SEE),
    ("Steer it", &STEER),
    ("More", &["completions", "man", "help"]),
];

const SEE: [&str; 4] = ["status", "list", "events", "logs"];
const STEER: [&str; 11] =
    ["reload", "abort", "restart", "scale", "fork", "disconnect", "kill", "send", "drain", "undrain", "stop"];

/// Whose manual pages there are.
pub(super) const PAGES: [&str; 19] = [
    "run",
    "check",
    "status",
    "list",
    "events",
    "logs",
    "reload",
    "abort",
    "restart",
    "scale",
    "fork",
    "disconnect",
    "kill",
    "send",
    "drain",
    "undrain",
    "stop",
    "completions",
    "man",
];

/// Whether a word is a verb that talks to a running master.
pub(super) fn is_control(word: &str) -> bool {
    word == "ls" || SEE.contains(&word) || STEER.contains(&word)
}

/// The command line, with its help in order.
pub(super) fn command() -> Command {
    let whole = Cli::command();
    let template = overview(&whole);
    let talks = SEE.into_iter().chain(STEER);
    let whole = talks
        .fold(whole, |all, verb| all.mut_subcommand(verb, |verb| verb.after_long_help(text(&[WHERE, EXIT]))));
    whole.help_template(template)
}

/// The template of the help of the whole: clap knows no groups of commands.
fn overview(whole: &Command) -> String {
    let mut built = whole.clone();
    built.build();
    let styles = Styles::default();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (heading, verbs) in GROUPS {
        text += &format!("\n{header}{heading}:{header:#}\n");
        for verb in verbs {
            let about = built.find_subcommand(verb).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            text += &format!("  {literal}{verb:11}{literal:#}  {about}\n");
        }
    }
    text + &format!("\n{header}Options:{header:#}\n{{options}}{{after-help}}")
}

/// All that is to be said besides the options.
fn sections() -> [Section; 4] {
    [EXAMPLES, SIGNALS, environment(), EXIT]
}

/// The variables that are read, those of our own first.
fn environment() -> Section {
    let mut text = String::new();
    let mut column = 0;
    for name in variables() {
        let word = if text.is_empty() { name } else { name.trim_start_matches("POINTSMAN") };
        if column + word.len() + 2 > WIDTH {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text += word;
        text.push(',');
        column += word.len() + 1;
    }
    ("Environment", format!("{}\n{OTHER_VARIABLES}", text.trim_end_matches(',')).into())
}

/// Columns of a section.
const WIDTH: usize = 78;

pub(super) fn examples() -> String {
    text(&[EXAMPLES])
}

pub(super) fn reference() -> String {
    text(&sections())
}

fn text(sections: &[Section]) -> String {
    let section = |(heading, body): &Section| format!("{heading}:\n  {}", body.replace('\n', "\n  "));
    sections.iter().map(section).collect::<Vec<_>>().join("\n\n")
}

/// The completion script for a shell.
pub(super) fn completions(shell: Shell) -> Vec<u8> {
    let all = command();
    // clap_complete would offer what is hidden as well.
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut shown = Command::new("pointsman").version(VERSION.as_str()).subcommands(shown);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown, "pointsman", &mut script);
    script
}

/// The manual page of pointsman, or of one of its commands, in roff.
pub(super) fn man(command: Option<&str>) -> io::Result<Vec<u8>> {
    let mut all = self::command();
    all.build();
    let page = match command.and_then(|name| all.find_subcommand(name)) {
        Some(found) => found.clone(),
        None => all,
    };
    let has_subcommands = page.has_subcommands();
    let man = Man::new(page).manual("Pointsman").source(concat!("pointsman ", env!("CARGO_PKG_VERSION")));
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if has_subcommands {
        man.render_subcommands_section(&mut out)?;
    }
    if matches!(command, None | Some("run")) {
        for section in &sections() {
            render(section, &mut out)?;
        }
    }
    if command.is_some_and(|name| SEE.contains(&name) || STEER.contains(&name)) {
        render(&WHERE, &mut out)?;
        render(&EXIT, &mut out)?;
    }
    Ok(out)
}

fn render((heading, body): &Section, out: &mut Vec<u8>) -> io::Result<()> {
    let mut page = roff::Roff::new();
    page.control("SH", [heading.to_uppercase().as_str()]).control("nf", []);
    for line in body.lines() {
        page.text([roff::roman(line)]);
    }
    page.control("fi", []);
    page.to_writer(out)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_page_and_script_is_made() {
        for name in PAGES.map(Some).into_iter().chain([None]) {
            let page = String::from_utf8(man(name).unwrap()).unwrap();
            let title = name.map_or("pointsman".to_owned(), |name| format!("pointsman-{name}"));
            assert!(page.contains(&format!(".TH {title} 1")), "{page}");
        }
        let page = String::from_utf8(man(Some("run")).unwrap()).unwrap();
        for part in [
            "stop\\-timeout",
            "cpu\\-affinity",
            ".SH ENVIRONMENT",
            "_CPU_AFFINITY",
            "NODE_CLUSTER_SCHED_POLICY",
            ".SH \"EXIT STATUS\"",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        for (shell, choices) in [
            (Shell::Bash, "wait reject"),
            (Shell::Zsh, "(wait reject)"),
            (Shell::Fish, "wait\\t''\nreject\\t''"),
        ] {
            let script = String::from_utf8(completions(shell)).unwrap();
            assert!(script.contains(choices), "{shell}: {choices}");
            for part in [
                "restart-delay",
                "version",
                "completions",
                "handoff",
                "least-connections",
                "multiport",
                "upstream-keepalive",
                "disconnect",
                "batch",
            ] {
                assert!(script.contains(part), "{shell}: {part}");
            }
            assert!(!script.contains("demo-worker") && !script.contains("demo__worker"), "{shell}: {script}");
        }
    }

    #[test]
    fn every_command_has_its_place_and_its_page() {
        let whole = command();
        let shown: BTreeSet<_> =
            whole.get_subcommands().filter(|verb| !verb.is_hide_set()).map(Command::get_name).collect();
        let grouped = || GROUPS.iter().flat_map(|(_, verbs)| verbs.iter().copied());
        assert_eq!(grouped().filter(|verb| *verb != "help").collect::<BTreeSet<_>>(), shown);
        assert!(grouped().filter(|verb| *verb != "help").eq(PAGES));
        let help = command().render_long_help().to_string();
        for part in [
            "\nSteer it:\n  reload       Replace all workers",
            "\n  help         Print",
            "\n\nOptions:\n",
            "Examples:\n",
        ] {
            assert!(help.contains(part), "{part}: {help}");
        }
        assert!(!help.contains("demo-worker"), "{help}");
        for verb in SEE.into_iter().chain(STEER) {
            let page = String::from_utf8(man(Some(verb)).unwrap()).unwrap();
            for part in ["XDG_RUNTIME_DIR", "75 not now", "\\-\\-control"] {
                assert!(page.contains(part), "{verb}: {part}: {page}");
            }
        }
        assert!(WHERE.1.lines().chain(EXIT.1.lines()).all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn help_lists_the_variables_that_are_read_and_no_other() {
        let (_, text) = environment();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        let (ours, _) = text.split_once("the keys of the file").unwrap();
        let listed = |word: &str| {
            let word = word.trim_end_matches(',');
            word.strip_prefix("POINTSMAN")
                .unwrap_or(word)
                .strip_prefix('_')
                .map(|key| format!("POINTSMAN_{key}"))
        };
        let listed: BTreeSet<_> = ours.split_whitespace().filter_map(listed).collect();
        assert_eq!(listed, variables().map(str::to_owned).collect());
    }
}
