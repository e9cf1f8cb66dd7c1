//! Servers besides the workers, trusted proxies and pages for errors: what there may be several of, as people write them.
//!
//! Text comes in, in a flag or a variable; `forward_file` reads what a file may have in its place. The files of pages are
//! read here, once.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    str::FromStr,
};

use pointsman::{ErrorPage, Network, UpstreamAddress, UpstreamPlace};

use super::{
    attribute,
    file::read_file,
    forward::base,
    layer::{Given, Origin},
    problem::{Problem, Problems, nearest},
    value::{BadValue, number},
};

/// What one source says of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListsLayer {
    pub(crate) upstreams: Option<Given<Vec<Server>>>,
    pub(crate) trusted_proxies: Option<Given<Vec<Trusted>>>,
    pub(crate) error_pages: Option<Given<Vec<Page>>>,
}

/// All of them, checked.
#[derive(Debug)]
pub(crate) struct Lists {
    pub(crate) upstreams: Given<Vec<Server>>,
    trusted_proxies: Given<Vec<Trusted>>,
    error_pages: Given<Vec<Page>>,
    /// What the files have in them.
    pub(super) pages: Vec<ErrorPage>,
}

impl ListsLayer {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            upstreams: self.upstreams.or(below.upstreams),
            trusted_proxies: self.trusted_proxies.or(below.trusted_proxies),
            error_pages: self.error_pages.or(below.error_pages),
        }
    }
}

impl Lists {
    pub(super) fn resolve(layer: ListsLayer, problems: &mut Problems) -> Self {
        let nothing = || Given::default(Vec::new());
        let upstreams = layer.upstreams.unwrap_or_else(nothing);
        let error_pages = layer.error_pages.unwrap_or_else(|| Given::default(Vec::new()));
        refuse_twice(&upstreams, |server| server.address.place.to_string(), "give it a weight", problems);
        refuse_twice(&error_pages, |page| show_code(page.code), "leave one of them out", problems);
        let mut pages = Vec::new();
        for page in &error_pages.value {
            match page.read(base(&error_pages.origin)) {
                Ok(page) => pages.push(page),
                Err(bad) => problems.push(Problem::new(error_pages.origin.clone(), page, bad)),
            }
        }
        let trusted_proxies = layer.trusted_proxies.unwrap_or_else(|| Given::default(Vec::new()));
        Self { upstreams, trusted_proxies, error_pages, pages }
    }

    /// Each key with its value, which is empty if there are none, and where it comes from.
    pub(super) fn rows(&self) -> [(&'static str, String, &Origin); 3] {
        fn row<T: fmt::Display>(given: &Given<Vec<T>>) -> (String, &Origin) {
            let shown: Vec<_> = given.value.iter().map(ToString::to_string).collect();
            (shown.join(", "), &given.origin)
        }
        let [upstreams, trusted, pages] =
            [row(&self.upstreams), row(&self.trusted_proxies), row(&self.error_pages)];
        [
            ("upstreams", upstreams.0, upstreams.1),
            ("trusted_proxies", trusted.0, trusted.1),
            ("error_pages", pages.0, pages.1),
        ]
    }

    pub(super) fn addresses(&self) -> Vec<UpstreamAddress> {
        self.upstreams.value.iter().map(|server| server.address.clone()).collect()
    }

    pub(super) fn networks(&self) -> Vec<Network> {
        self.trusted_proxies.value.iter().flat_map(|trusted| trusted.networks.iter().copied()).collect()
    }
}

/// Of two that are the same, the second is one too many.
fn refuse_twice<T: fmt::Display>(
    list: &Given<Vec<T>>,
    name: impl Fn(&T) -> String,
    instead: &str,
    problems: &mut Problems,
) {
    let all = &list.value;
    let mut others = (1..all.len()).filter(|&at| all[..at].iter().any(|one| name(one) == name(&all[at])));
    if let Some(at) = others.next() {
        let bad = BadValue::new(format!("{} is given twice", name(&all[at])), instead);
        problems.push(Problem::new(list.origin.clone(), &all[at], bad));
    }
}

/// A server that is no worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    address: UpstreamAddress,
}

/// More is a slip of the finger: shares of a thousand to one are not what anybody measures.
const MAX_WEIGHT: u32 = 1000;

impl Server {
    /// One with nothing besides its address.
    pub(super) fn at(text: &str) -> Result<Self, BadValue> {
        let place: UpstreamPlace = text.parse().map_err(|error: pointsman::BadUpstream| {
            let what = match text.split_once("://") {
                Some(_) => "an address, not a URL, is asked",
                None => "not the address of a server",
            };
            BadValue::new(what, error.to_string())
        })?;
        Ok(Self { address: UpstreamAddress { place, weight: 1, backup: false } })
    }

    /// Sets what else there is to say.
    pub(super) fn set(&mut self, name: &str, text: Option<&str>) -> Result<(), BadValue> {
        match (name, text) {
            ("weight", Some(text)) => self.address.weight = number("a weight", 1..=MAX_WEIGHT)(text)?,
            ("weight", None) => return Err(BadValue::new("weight has no value", "write weight=2")),
            ("backup", None | Some("true")) => self.address.backup = true,
            ("backup", Some("false")) => self.address.backup = false,
            ("backup", Some(_)) => return Err(BadValue::new("neither true nor false", "write backup alone")),
            _ => return Err(unknown_name(name)),
        }
        Ok(())
    }
}

/// The answer to what is neither a weight nor a backup.
pub(super) fn unknown_name(name: &str) -> BadValue {
    let instead = match nearest(name, ["weight", "backup"]) {
        Some(near) => format!("did you mean {near}?"),
        None => "a server has address, weight and backup".to_owned(),
    };
    BadValue::new(format!("{name:?} is nothing of a server"), instead)
}

impl FromStr for Server {
    type Err = BadValue;

    /// An address, and `weight=2` and `backup` behind it, with blanks between.
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let mut words = text.split_whitespace();
        let mut server = Self::at(words.next().unwrap_or_default())?;
        for word in words {
            match word.split_once('=') {
                Some((name, value)) => server.set(name, Some(value))?,
                None => server.set(word, None)?,
            }
        }
        Ok(server)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UpstreamAddress { place, weight, backup } = &self.address;
        place.fmt(out)?;
        if *weight != 1 {
            write!(out, " weight={weight}")?;
        }
        out.write_str(if *backup { " backup" } else { "" })
    }
}

/// Whose word is taken for where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trusted {
    networks: Vec<Network>,
    spelt: String,
}

/// This machine.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];
/// What no route of the Internet leads to: RFC 1918, and RFC 4193 for IPv6.
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

impl FromStr for Trusted {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let networks: Result<_, _> = match text {
            "loopback" => LOOPBACK.into_iter().map(network).collect(),
            "private" => PRIVATE.into_iter().map(network).collect(),
            _ => network(text).map(|network| vec![network]),
        };
        Ok(Self { networks: networks?, spelt: text.to_owned() })
    }
}

impl fmt::Display for Trusted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.spelt)
    }
}

/// An address, or those that begin alike, as in `10.0.0.0/8`.
fn network(text: &str) -> Result<Network, BadValue> {
    let examples = "write 10.0.0.1, 10.0.0.0/8, ::1, loopback or private";
    let bad = || BadValue::new("neither an address nor a network", examples);
    let (address, prefix) = text.split_once('/').map_or((text, None), |(text, bits)| (text, Some(bits)));
    let address: IpAddr = address.parse().map_err(|_| bad())?;
    let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Ok(longest), number("a number of bits", 0..=longest))?;
    let beyond = u32::from(longest - prefix);
    let first: IpAddr = match address {
        IpAddr::V4(address) => {
            let bits = address.to_bits().checked_shr(beyond).and_then(|bits| bits.checked_shl(beyond));
            Ipv4Addr::from_bits(bits.unwrap_or(0)).into()
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits().checked_shr(beyond).and_then(|bits| bits.checked_shl(beyond));
            Ipv6Addr::from_bits(bits.unwrap_or(0)).into()
        }
    };
    if first != address {
        let what = format!("{address} has more than {prefix} bits");
        return Err(BadValue::new(what, format!("write {first}/{prefix}, or {address} alone")));
    }
    Ok(Network { address, prefix })
}

/// What is answered in the place of an error's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// `502`, or `5` for all of them.
    code: u16,
    path: String,
}

/// Every lane has them all in memory, and nobody who is answered an error waits for a long page.
const MAX_PAGE: usize = 64 << 10;

impl Page {
    pub(super) fn new(code: &str, path: &str) -> Result<Self, BadValue> {
        let parsed = match code {
            "4xx" => Some(4),
            "5xx" => Some(5),
            _ => code.parse().ok().filter(|number| code.len() == 3 && (400..600).contains(number)),
        };
        let bad =
            || BadValue::new(format!("{code:?} is no error"), "write a code such as 502, or 4xx or 5xx");
        Ok(Self { code: parsed.ok_or_else(bad)?, path: path.to_owned() })
    }

    fn read(&self, base: &Path) -> Result<ErrorPage, BadValue> {
        let path = attribute::path(Path::new(&self.path), base)?;
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let kind = match extension {
            "html" | "htm" => "text/html; charset=utf-8",
            "txt" => "text/plain; charset=utf-8",
            "json" => "application/json",
            "xml" => "application/xml",
            _ => {
                let what = format!("{} has no name that says what it is", path.display());
                return Err(BadValue::new(what, "name a file that ends in .html, .txt, .json or .xml"));
            }
        };
        let unreadable = |error: String| {
            BadValue::new(format!("{} cannot be read: {error}", path.display()), "name a file that is there")
        };
        match read_file(&path) {
            Err(error) => Err(unreadable(error.to_string())),
            Ok(body) if body.len() > MAX_PAGE => Err(unreadable("larger than 64 KiB".to_owned())),
            Ok(body) => Ok(ErrorPage { code: self.code, kind: kind.to_owned(), body }),
        }
    }
}

fn show_code(code: u16) -> String {
    if code < 10 { format!("{code}xx") } else { code.to_string() }
}

impl FromStr for Page {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = || BadValue::new("not a page for an error", "write CODE=FILE, such as 502=sorry.html");
        let (code, path) = text.split_once('=').ok_or_else(bad)?;
        Self::new(code, path)
    }
}

impl fmt::Display for Page {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}={}", show_code(self.code), self.path)
    }
}

#[cfg(test)]
#[path = "forward_lists_tests.rs"]
mod tests;
