use std::fs;

use super::{
    super::{
        Layer, load,
        tests::{check_mistakes, environment, load_text},
    },
    *,
};
use proptest::prelude::*;

fn rules(text: &str, variables: &[(&str, &str)]) -> pointsman::Forward {
    let text = format!("mode = \"multiport\"\n{text}");
    load_text(Layer::default(), &text, variables).unwrap().forward.settings()
}

#[test]
fn servers_are_addresses_and_what_else_there_is_to_say() {
    for text in
        ["10.0.0.5:3000", "app.example:80 weight=3", "unix:/run/a.sock backup", "[::1]:80 weight=2 backup"]
    {
        assert_eq!(text.parse::<Server>().unwrap().to_string(), text);
    }
    for (text, expected) in [
        ("", "not the address of a server; a server is written as"),
        ("10.0.0.5", "not the address of a server"),
        ("http://app:80", "an address, not a URL, is asked"),
        ("a:1 weight", "weight has no value"),
        ("a:1 weight=0", "not a weight; give 1 to 1000"),
        ("a:1 wieght=2", "did you mean weight?"),
        ("a:1 down", "\"down\" is nothing of a server; a server has"),
        ("a:1 backup=yes", "neither true nor false"),
    ] {
        let error = text.parse::<Server>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn every_source_may_name_servers() {
    let place = |text: &str| text.parse::<UpstreamPlace>().unwrap();
    let expected = vec![
        UpstreamAddress { place: place("10.0.0.5:3000"), weight: 2, backup: false },
        UpstreamAddress { place: place("b.example:80"), weight: 1, backup: true },
    ];
    let text = "upstreams = [{ address = \"10.0.0.5:3000\", weight = 2 }, \"b.example:80 backup\"]";
    assert_eq!(rules(text, &[]).upstreams, expected);
    let variable = ("POINTSMAN_UPSTREAMS", "10.0.0.5:3000 weight=2, b.example:80 backup");
    assert_eq!(rules("upstreams = \"c:1\"", &[variable]).upstreams, expected);
    let config = load_text(Layer::default(), &format!("mode = \"multiport\"\n{text}"), &[]).unwrap();
    let [(_, shown, _), ..] = config.forward.lists.rows();
    assert_eq!(shown, "10.0.0.5:3000 weight=2, b.example:80 backup");
}

#[test]
fn servers_without_a_program_are_alone() {
    let workers = |text: &str, variables: &[_]| {
        let text = format!("mode = \"multiport\"\n{text}");
        load_text(Layer::default(), &text, variables).unwrap().workers.value
    };
    assert_eq!(workers("upstreams = \"a:1\"", &[]), 0);
    assert_eq!(workers("upstreams = \"a:1\"", &[("WEB_CONCURRENCY", "4")]), 0);
    assert_eq!(workers("upstreams = \"a:1\"\nworkers = 2", &[]), 2);
    assert_ne!(workers("upstreams = \"a:1\"\nprogram = \"sh\"", &[]), 0);
    assert_ne!(workers("", &[]), 0);
}

#[test]
fn proxies_are_addresses_networks_and_words() {
    let trusted = |text: &str| rules(&format!("trusted_proxies = {text}"), &[]).rules.trusted_proxies;
    let network = |address: &str, prefix| Network { address: address.parse().unwrap(), prefix };
    assert_eq!(
        trusted("[\"10.0.0.0/8\", \"::1\", \"192.0.2.7\"]"),
        [network("10.0.0.0", 8), network("::1", 128), network("192.0.2.7", 32)]
    );
    assert_eq!(trusted("\"loopback\""), [network("127.0.0.0", 8), network("::1", 128)]);
    assert_eq!(trusted("\"private\"").len(), 4);
    assert_eq!(trusted("[\"0.0.0.0/0\", \"::/0\"]"), [network("0.0.0.0", 0), network("::", 0)]);
    for (text, expected) in [
        ("", "neither an address nor a network; write 10.0.0.1"),
        ("10.0.0.0/33", "not a number of bits; give 0 to 32"),
        ("10.0.0.5/8", "10.0.0.5 has more than 8 bits; write 10.0.0.0/8, or 10.0.0.5 alone"),
        ("fd00::1/8", "write fd00::/8, or fd00::1 alone"),
        ("10.0.0.5/0", "write 0.0.0.0/0"),
        ("localhost", "loopback or private"),
        ("10.0.0.0/", "not a number of bits"),
    ] {
        let error = text.parse::<Trusted>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn pages_are_read_when_the_configuration_is() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("sorry.html"), "<p>Sorry").unwrap();
    fs::write(at("gone.json"), "{}").unwrap();
    let write = |text: &str| fs::write(at("p.toml"), format!("mode = \"multiport\"\n{text}")).unwrap();
    let read = |variables: &[_]| {
        let config = load(Layer::default(), Some(&at("p.toml")), &environment(variables));
        config
            .map(|config| config.forward.settings().rules.error_pages)
            .map_err(|problems| problems.render(false))
    };
    write("[error_pages]\n5xx = \"sorry.html\"\n404 = \"./gone.json\"");
    let page = |code, kind: &str, body: &str| ErrorPage { code, kind: kind.into(), body: body.into() };
    let html = "text/html; charset=utf-8";
    let mut pages = read(&[]).unwrap();
    pages.sort_by_key(|page| page.code);
    assert_eq!(pages, [page(5, html, "<p>Sorry"), page(404, "application/json", "{}")]);
    let variable = format!("502={}", at("sorry.html").display());
    assert_eq!(read(&[("POINTSMAN_ERROR_PAGES", &variable)]), Ok(vec![page(502, html, "<p>Sorry")]));

    fs::write(at("long.txt"), "x".repeat(MAX_PAGE + 1)).unwrap();
    for (text, expected) in [
        ("error_pages = { 502 = \"none.html\" }", "none.html cannot be read: No such file"),
        ("error_pages = { 502 = \"long.txt\" }", "larger than 64 KiB"),
        ("error_pages = { 502 = \"p.toml\" }", "has no name that says what it is"),
        ("error_pages = { 502 = \"\" }", "no path is named"),
        ("error_pages = [\"502=sorry.html\", \"502=gone.json\"]", "502 is given twice"),
    ] {
        write(text);
        let error = read(&[]).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in [
        ("upstreams = [\"a:1\", \"b\"]", &["not the address of a server", "p.toml:2:21"][..]),
        ("upstreams = 3000", &["a string is expected"]),
        ("upstreams = { weight = 2 }", &["no address", "{ address = "]),
        ("upstreams = { address = \"a:1\", weight = \"2\" }", &["a number is expected", "weight = 2"]),
        ("upstreams = { address = \"a:1\", weight = 0 }", &["not a weight", "p.toml:2:41"]),
        ("upstreams = { address = \"a:1\", backup = 1 }", &["true or false is expected"]),
        ("upstreams = { address = \"a:1\", bakcup = true }", &["did you mean backup?", "p.toml:2:32"]),
        ("upstreams = [\"a:1\", \"a:1 weight=2\"]", &["a:1 is given twice", "give it a weight"]),
        ("trusted_proxies = [\"::1\", \"::1/129\"]", &["give 0 to 128", "p.toml:2:27"]),
        ("error_pages = \"502\"", &["write CODE=FILE"]),
        ("[error_pages]\n200 = \"a.html\"", &["\"200\" is no error", "p.toml:3:1"]),
        ("[error_pages]\n502 = 1", &["a string is expected", "p.toml:3:7"]),
    ] {
        check_mistakes(&[(&format!("mode = \"multiport\"\n{text}"), expected)]);
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*", near in "[0-9a-z.:/]{0,9}(=| )?[a-z0-9=]{0,9}") {
        for text in [text, near] {
            let _ = (text.parse::<Server>(), text.parse::<Trusted>(), text.parse::<Page>());
        }
    }

    #[test]
    fn a_network_that_is_read_has_no_more_bits_than_it_says(bits in any::<u128>(), prefix in 0u8..=128) {
        let address = Ipv6Addr::from_bits(bits);
        let text = format!("{address}/{prefix}");
        if let Err(error) = text.parse::<Trusted>() {
            let instead = error.instead.strip_prefix("write ").unwrap();
            let first = instead.split(',').next().unwrap();
            prop_assert!(first.parse::<Trusted>().is_ok(), "{}", error);
        }
    }
}
