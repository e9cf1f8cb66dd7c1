//! The `Accept` of a request for metrics -> the format to answer in (RFC 9110 §12.5.1).
//!
//! Prometheus asks for all that it reads, with weights: OpenMetrics of two versions, text of two, anything. Those of other
//! versions are not ours.

use super::Format;

/// Of what is offered, the one that is wanted most: by weight, then by how plainly it is named. Who accepts neither, or says
/// nothing, gets text: a person with `curl` does not mind, and a refusal would help nobody.
pub fn negotiate<'a>(accept: impl IntoIterator<Item = &'a [u8]>) -> Format {
    let ranges = accept
        .into_iter()
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(|value| value.split(','));
    let (mut open, mut text) = (Wish::default(), Wish::default());
    for range in ranges.filter_map(Range::parse) {
        open.take(range.fits("application", "openmetrics-text", "1.0.0"), range.weight);
        text.take(range.fits("text", "plain", "0.0.4"), range.weight);
    }
    // What is named by nothing but a wildcard is text.
    let wants_open = open.plainness > Plainness::Wildcard
        && (open.weight, open.plainness) >= (text.weight, text.plainness);
    if wants_open && open.weight > 0 { Format::OpenMetrics } else { Format::Text }
}

/// How plainly a format is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Plainness {
    #[default]
    Not,
    Wildcard,
    Type,
    Version,
}

/// How much a format is wanted: the plainest range decides.
#[derive(Debug, Default)]
struct Wish {
    plainness: Plainness,
    /// In thousandths.
    weight: u16,
}

impl Wish {
    fn take(&mut self, plainness: Plainness, weight: u16) {
        if plainness > self.plainness {
            *self = Self { plainness, weight };
        } else if plainness == self.plainness {
            self.weight = self.weight.max(weight);
        }
    }
}

/// One of the list.
#[derive(Debug)]
struct Range<'a> {
    kind: &'a str,
    subkind: &'a str,
    version: Option<&'a str>,
    weight: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subkind) = parts.next()?.split_once('/')?;
        let mut range = Self { kind, subkind, version: None, weight: 1000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            if name.eq_ignore_ascii_case("q") {
                range.weight = weight(value)?;
            } else if name.eq_ignore_ascii_case("version") {
                range.version = Some(value.trim_matches('"'));
            }
        }
        Some(range)
    }

    fn fits(&self, kind: &str, subkind: &str, version: &str) -> Plainness {
        match (self.kind, self.subkind) {
            ("*", "*") => Plainness::Wildcard,
            (ours, "*") if ours.eq_ignore_ascii_case(kind) => Plainness::Wildcard,
            (ours, of) if ours.eq_ignore_ascii_case(kind) && of.eq_ignore_ascii_case(subkind) => {
                match self.version {
                    None => Plainness::Type,
                    Some(wanted) if wanted == version => Plainness::Version,
                    Some(_) => Plainness::Not,
                }
            }
            _ => Plainness::Not,
        }
    }
}

/// `0` to `1` with up to three digits behind the point, in thousandths.
fn weight(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if !["0", "1"].contains(&whole) || rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{whole}{rest:0<3}").parse().ok()?;
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_wanted_most() {
        use Format::{OpenMetrics, Text};
        for (accept, expected) in [
            (&[][..], Text),
            (&["*/*"], Text),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Text),
            // Prometheus 3.
            (
                &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                   application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                   text/plain;version=0.0.4;q=0.3,*/*;q=0.2"],
                OpenMetrics,
            ),
            // Prometheus 2, with its binary format first.
            (
                &[
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
                   application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
                ],
                OpenMetrics,
            ),
            // With the formats of Prometheus turned round.
            (
                &[
                    "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1",
                ],
                Text,
            ),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8"], OpenMetrics),
            (&["application/openmetrics-text; version=0.0.1"], Text),
            (&["application/openmetrics-text; version=1.0.0; q=0"], Text),
            (&["application/openmetrics-text, text/plain"], OpenMetrics),
            (&["application/openmetrics-text;q=0.5, */*"], Text),
            (&["application/openmetrics-text;q=0.2, */*;q=0.1"], OpenMetrics),
            (&["text/plain;q=0.1", "application/openmetrics-text;q=0.2"], OpenMetrics),
            (&["text/plain;q=0.20", "application/openmetrics-text;q=0.1"], Text),
            (&["application/json"], Text),
            (&["application/*"], Text),
            (&["application/openmetrics-text;q=1.001"], Text),
            (&["application/openmetrics-text;q=-1"], Text),
            (&["application/openmetrics-text;q=0.1234"], Text),
            (&["application/openmetrics-text;q="], Text),
            (&[";;q=,,=/", "/", "é"], Text),
        ] {
            let bytes = accept.iter().map(|text| text.as_bytes());
            assert_eq!(negotiate(bytes), expected, "{accept:?}");
        }
        assert_eq!(negotiate([&b"\xff/\xff"[..]]), Text);
    }
}
