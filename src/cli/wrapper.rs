//! Programs that start another program: with one of them in front, the worker is the wrapper and not what serves.
//!
//! A command line and the text of a package.json come in, a warning goes out.

use std::{ffi::OsString, fs, io, io::Read, path::Path};

use crate::config::words;

/// A package.json is smaller.
const MAX_BYTES: u64 = 1 << 20;

/// The words of the shell that make more of a line than a program and its arguments.
const SHELL: [char; 16] = ['|', '&', ';', '<', '>', '(', ')', '$', '`', '"', '\'', '\\', '*', '?', '#', '~'];

/// What a wrapper would run.
#[derive(Debug, PartialEq, Eq)]
enum Wrapped<'a> {
    /// A script of package.json.
    Script(&'a str),
    /// A program of node_modules/.bin.
    Package(&'a str),
    /// Something else.
    Unknown,
}

/// A warning, if the command line begins with a wrapper.
pub(super) fn warning(command: &[&OsString], directory: &Path) -> Option<String> {
    let text: Vec<&str> = command.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let wrapped = wrapped(&text)?;
    let name = words(command.iter().copied().take(3));
    let mut message = format!(
        "`{name}` only starts the program that serves, which will get no connections: give pointsman that program itself"
    );
    match wrapped {
        Wrapped::Script(script) => {
            if let Some(line) = script_line(&directory.join("package.json"), script) {
                message += "\n";
                message += &advice(script, &line);
            }
        }
        Wrapped::Package(package) => {
            message += &format!("\nuse: pointsman run … -- node node_modules/.bin/{package}");
        }
        Wrapped::Unknown => {}
    }
    Some(message)
}

fn wrapped<'a>(command: &[&'a str]) -> Option<Wrapped<'a>> {
    let (program, args) = command.split_first()?;
    let args: Vec<&str> = args.iter().copied().filter(|word| !word.starts_with('-')).collect();
    let or_unknown =
        |script: Option<&&'a str>| script.map_or(Wrapped::Unknown, |script| Wrapped::Script(script));
    match (program.rsplit('/').next()?, args.as_slice()) {
        ("npm" | "yarn" | "pnpm", ["start", ..]) => Some(Wrapped::Script("start")),
        ("npm" | "yarn" | "pnpm", ["run" | "run-script", rest @ ..]) => Some(or_unknown(rest.first())),
        ("yarn" | "pnpm", [script, ..]) if *script != "exec" => Some(Wrapped::Script(script)),
        ("npm" | "yarn" | "pnpm", _) => Some(Wrapped::Unknown),
        ("npx" | "pnpx" | "bunx", [package, ..]) => Some(Wrapped::Package(package)),
        ("npx" | "pnpx" | "bunx", []) => Some(Wrapped::Unknown),
        // `bun run file.js` is the runtime itself.
        ("bun", ["run", script, ..]) if !script.contains(['.', '/']) => Some(Wrapped::Script(script)),
        ("nodemon" | "pm2" | "forever" | "ts-node-dev", _) => Some(Wrapped::Unknown),
        _ => None,
    }
}

/// What a script of package.json runs.
fn script_line(package: &Path, script: &str) -> Option<String> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        fs::File::open(package)?.take(MAX_BYTES).read_to_string(&mut text)?;
        Ok(text)
    };
    let package: serde_json::Value = serde_json::from_str(&read().ok()?).ok()?;
    Some(package.get("scripts")?.get(script)?.as_str()?.trim().to_owned())
}

/// The command to use, if the script is simple enough to say.
fn advice(script: &str, line: &str) -> String {
    let shown = format!("`{script}` in package.json is: {line}");
    if line.contains(SHELL) {
        return shown;
    }
    let is_variable = |word: &&str| word.split_once('=').is_some_and(|(name, _)| !name.is_empty());
    let (variables, program): (Vec<_>, Vec<_>) = {
        let all: Vec<&str> = line.split_whitespace().filter(|word| *word != "cross-env").collect();
        let until = all.iter().take_while(|word| is_variable(word)).count();
        (all[..until].to_vec(), all[until..].to_vec())
    };
    // What is not a script for node is probably in node_modules/.bin, and may be a wrapper itself.
    if program.first() != Some(&"node") || program.len() < 2 {
        return shown;
    }
    let variables: String = variables.iter().map(|variable| format!("-e {variable} ")).collect();
    format!("use: pointsman run … {variables}-- {}", program.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_recognised() {
        for (command, expected) in [
            ("npm start", Some(Wrapped::Script("start"))),
            ("/usr/bin/npm --silent run serve -- -x", Some(Wrapped::Script("serve"))),
            ("npm run", Some(Wrapped::Unknown)),
            ("npm", Some(Wrapped::Unknown)),
            ("npm exec x", Some(Wrapped::Unknown)),
            ("yarn serve", Some(Wrapped::Script("serve"))),
            ("yarn exec x", Some(Wrapped::Unknown)),
            ("pnpm start", Some(Wrapped::Script("start"))),
            ("npx next start", Some(Wrapped::Package("next"))),
            ("bun run serve", Some(Wrapped::Script("serve"))),
            ("bun run app.ts", None),
            ("bun app.ts", None),
            ("nodemon app.js", Some(Wrapped::Unknown)),
            ("node app.js npm start", None),
            ("", None),
        ] {
            let command: Vec<&str> = command.split_whitespace().collect();
            assert_eq!(wrapped(&command), expected, "{command:?}");
        }
    }

    #[test]
    fn the_script_itself_is_shown() {
        for (line, expected) in [
            ("node server.js", "use: pointsman run … -- node server.js"),
            (
                "NODE_ENV=production node  --x=1 a.js b=c",
                "use: pointsman run … -e NODE_ENV=production -- node --x=1 a.js b=c",
            ),
            ("cross-env A=1 node a.js", "use: pointsman run … -e A=1 -- node a.js"),
            ("node", "`start` in package.json is: node"),
            ("tsc && node a.js", "`start` in package.json is: tsc && node a.js"),
            ("next start", "`start` in package.json is: next start"),
            ("node a.js --name \"x y\"", "`start` in package.json is: node a.js --name \"x y\""),
        ] {
            assert_eq!(advice("start", line), expected);
        }
    }

    #[test]
    fn package_json_is_read_if_it_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let npm_start = [OsString::from("npm"), OsString::from("start")];
        let warn = || warning(&npm_start.iter().collect::<Vec<_>>(), directory.path()).unwrap();
        let plain = "`npm start` only starts the program that serves, which will get no connections: give pointsman \
                     that program itself";
        assert_eq!(warn(), plain);
        for (text, expected) in [
            ("{\"scripts\":{\"start\":\"node server.js\"}}", "\nuse: pointsman run … -- node server.js"),
            ("{\"scripts\":{\"start\":7}}", ""),
            ("{\"scripts\":", ""),
            ("", ""),
        ] {
            fs::write(directory.path().join("package.json"), text).unwrap();
            assert_eq!(warn(), format!("{plain}{expected}"));
        }
        let node = OsString::from("node");
        assert_eq!(warning(&[&node], directory.path()), None);
        assert_eq!(warning(&[], directory.path()), None);
    }
}
