//! Metric families -> text, in Prometheus' own format 0.0.4 or in OpenMetrics 1.0.0.
//!
//! Families enter one after the other with their samples, and are written as they come. Both formats say the same; they
//! differ in what a counter's family and an info are called, in what is escaped, and in how the text ends. Names and labels
//! are the caller's and known to be sound; only values of labels may be anything.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use super::Histogram;

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`.
    Text,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
}

impl Format {
    /// What goes into `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; the name of its samples ends in `_total`.
    Counter,
    /// It comes and goes.
    Gauge,
    /// Spans by their length.
    Histogram,
    /// Its labels are what it tells, and its value is 1; the name of its sample ends in `_info`.
    Info,
}

/// A text under way.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    out: String,
}

impl Exposition {
    /// Nothing yet.
    pub fn new(format: Format) -> Self {
        // Of 64 workers it is about 40 KB.
        Self { format, out: String::with_capacity(16 << 10) }
    }

    /// Begins a family. `name` is without `_total` and `_info`; one that ends in `_seconds` or `_bytes` is of that unit.
    pub fn family(&mut self, kind: Kind, name: &'static str, help: &'static str) -> Family<'_> {
        let suffix = match kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        let (called, word) = match (self.format, kind) {
            (Format::Text, Kind::Info) => (suffix, "gauge"),
            (Format::Text, Kind::Counter) => (suffix, "counter"),
            (Format::OpenMetrics, Kind::Info) => ("", "info"),
            (Format::OpenMetrics, Kind::Counter) => ("", "counter"),
            (_, Kind::Gauge) => ("", "gauge"),
            (_, Kind::Histogram) => ("", "histogram"),
        };
        self.put(format_args!("# HELP {name}{called} {help}\n# TYPE {name}{called} {word}\n"));
        let unit = ["seconds", "bytes"]
            .into_iter()
            .find(|unit| name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            self.put(format_args!("# UNIT {name} {unit}\n"));
        }
        Family { exposition: self, name, suffix }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    fn put(&mut self, text: fmt::Arguments<'_>) {
        // Writing to memory cannot fail.
        let _ = self.out.write_fmt(text);
    }
}

/// Where the samples of a family go.
#[derive(Debug)]
pub struct Family<'a> {
    exposition: &'a mut Exposition,
    name: &'static str,
    suffix: &'static str,
}

/// The labels of a sample, by name.
type Labels<'a> = &'a [(&'static str, &'a dyn fmt::Display)];

impl Family<'_> {
    /// Adds a sample.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl fmt::Display) -> &mut Self {
        self.line(self.suffix, labels, value);
        self
    }

    /// Adds what a histogram has counted.
    pub fn histogram<const BOUNDS: usize>(&mut self, histogram: &Histogram<BOUNDS>) {
        for (bound, count) in histogram.cumulative() {
            self.line("_bucket", &[("le", &Seconds(bound))], count);
        }
        self.line("_bucket", &[("le", &"+Inf")], histogram.count());
        self.line("_sum", &[], Seconds(histogram.sum()));
        self.line("_count", &[], histogram.count());
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, value: impl fmt::Display) {
        self.exposition.put(format_args!("{}{suffix}", self.name));
        let mut before = '{';
        for (name, label) in labels {
            self.exposition.put(format_args!("{before}{name}=\"{}\"", Escaped(*label)));
            before = ',';
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.exposition.put(format_args!("{end} {value}\n"));
    }
}

/// A span as a number of seconds: with a point, and without digits that say nothing.
#[derive(Debug, Clone, Copy)]
pub struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, mut nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        let mut digits = 9;
        while digits > 1 && nanos.is_multiple_of(10) {
            nanos /= 10;
            digits -= 1;
        }
        write!(out, "{seconds}.{nanos:0digits$}")
    }
}

/// The value of a label, as it stands between quotes.
struct Escaped<'a>(&'a dyn fmt::Display);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Escaping<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                let mut plain = text;
                while let Some(at) = plain.find(['\\', '"', '\n']) {
                    let escape = match plain.as_bytes()[at] {
                        b'\n' => "\\n",
                        b'"' => "\\\"",
                        _ => "\\\\",
                    };
                    self.0.write_str(&plain[..at])?;
                    self.0.write_str(escape)?;
                    plain = &plain[at + 1..];
                }
                self.0.write_str(plain)
            }
        }
        write!(Escaping(out), "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(write: impl Fn(&mut Exposition)) -> [String; 2] {
        [Format::Text, Format::OpenMetrics].map(|format| {
            let mut exposition = Exposition::new(format);
            write(&mut exposition);
            exposition.finish()
        })
    }

    #[test]
    fn families_are_called_as_each_format_wants_it() {
        let [text, open] = both(|out| {
            out.family(Kind::Counter, "a_seconds", "Of a.")
                .sample(&[], 1)
                .sample(&[("b", &"c")], Seconds(Duration::ZERO));
            out.family(Kind::Gauge, "d_bytes", "Of d.").sample(&[("e", &1), ("f", &"g")], 2);
            out.family(Kind::Info, "h", "Of h.").sample(&[("i", &"j")], 1);
            out.family(Kind::Gauge, "seconds", "No unit of nothing.");
        });
        let expected = "\
# HELP a_seconds_total Of a.
# TYPE a_seconds_total counter
a_seconds_total 1
a_seconds_total{b=\"c\"} 0.0
# HELP d_bytes Of d.
# TYPE d_bytes gauge
d_bytes{e=\"1\",f=\"g\"} 2
# HELP h_info Of h.
# TYPE h_info gauge
h_info{i=\"j\"} 1
# HELP seconds No unit of nothing.
# TYPE seconds gauge
";
        assert_eq!(text, expected);
        let expected = "\
# HELP a_seconds Of a.
# TYPE a_seconds counter
# UNIT a_seconds seconds
a_seconds_total 1
a_seconds_total{b=\"c\"} 0.0
# HELP d_bytes Of d.
# TYPE d_bytes gauge
# UNIT d_bytes bytes
d_bytes{e=\"1\",f=\"g\"} 2
# HELP h Of h.
# TYPE h info
h_info{i=\"j\"} 1
# HELP seconds No unit of nothing.
# TYPE seconds gauge
# EOF
";
        assert_eq!(open, expected);
    }

    #[test]
    fn labels_are_escaped() {
        for (label, expected) in [
            ("", ""),
            ("unix:/run/a b.sock", "unix:/run/a b.sock"),
            ("\"", "\\\""),
            ("a\\b", "a\\\\b"),
            ("\n", "\\n"),
            ("\\n\"\n\\", "\\\\n\\\"\\n\\\\"),
            ("é{}=,", "é{}=,"),
        ] {
            for text in both(|out| {
                out.family(Kind::Gauge, "a", "A.").sample(&[("b", &label)], 1);
            }) {
                assert_eq!(text.lines().nth(2), Some(&*format!("a{{b=\"{expected}\"}} 1")), "{label:?}");
            }
        }
    }

    #[test]
    fn a_histogram_has_its_buckets_its_sum_and_its_count() {
        const BOUNDS: [Duration; 3] =
            [Duration::from_micros(50), Duration::from_millis(2), Duration::from_secs(10)];
        let mut histogram = Histogram::new(&BOUNDS);
        histogram.observe(Duration::from_millis(1));
        histogram.observe(Duration::from_secs(11));
        let [text, open] = both(|out| out.family(Kind::Histogram, "a_seconds", "A.").histogram(&histogram));
        let expected = "\
a_seconds_bucket{le=\"0.00005\"} 0
a_seconds_bucket{le=\"0.002\"} 1
a_seconds_bucket{le=\"10.0\"} 1
a_seconds_bucket{le=\"+Inf\"} 2
a_seconds_sum 11.001
a_seconds_count 2
";
        assert_eq!(text, format!("# HELP a_seconds A.\n# TYPE a_seconds histogram\n{expected}"));
        let head = "# HELP a_seconds A.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n";
        assert_eq!(open, format!("{head}{expected}# EOF\n"));
    }

    #[test]
    fn seconds_are_written_exactly() {
        for (nanos, expected) in [
            (0, "0.0"),
            (1, "0.000000001"),
            (50_000, "0.00005"),
            (1_500_000_000, "1.5"),
            (10_000_000_000, "10.0"),
            (u64::MAX, "18446744073.709551615"),
        ] {
            assert_eq!(Seconds(Duration::from_nanos(nanos)).to_string(), expected);
        }
    }
}
