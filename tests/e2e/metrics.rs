//! Metrics as Prometheus' own client reads them.

use std::{
    collections::BTreeMap,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::harness::Place;

/// How they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    pub(crate) const ALL: [Self; 2] = [Self::Text, Self::OpenMetrics];

    /// As Prometheus asks if it prefers this one.
    fn accept(self) -> &'static str {
        match self {
            Self::Text => "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Self::OpenMetrics => {
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2"
            }
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::OpenMetrics => "openmetrics",
        }
    }
}

#[derive(Debug, serde::Deserialize)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// All of one scrape.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) samples: Vec<Sample>,
}

impl Metrics {
    #[track_caller]
    pub(crate) fn read(place: &Place, format: Format) -> Self {
        let mut client = place.connect().unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {}\r\n\r\n", format.accept());
        client.send_raw(request.as_bytes()).unwrap();
        let answer = client.receive().unwrap();
        assert_eq!((answer.status, &*answer.headers["content-type"]), (200, format.content_type()));
        Self::parse(&answer.text(), format)
    }

    #[track_caller]
    fn parse(text: &str, format: Format) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/tools/python/bin/python");
        assert!(python.exists(), "{} is missing; run scripts/setup", python.display());
        let mut command = Command::new(python);
        command.arg(root.join("tests/e2e/apps/metrics.py")).arg(format.word());
        let mut reader = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        reader.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = reader.wait_with_output().unwrap();
        assert!(output.status.success(), "the parser does not understand\n{text}");
        let samples: Vec<Sample> = serde_json::from_slice(&output.stdout).unwrap();
        let mut series: Vec<_> = samples.iter().map(|sample| (&sample.name, &sample.labels)).collect();
        series.sort();
        assert!(series.is_sorted_by(|one, other| one < other), "a series is there twice\n{text}");
        Self { samples }
    }

    /// The value with these labels.
    pub(crate) fn of(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            let is =
                |(name, value): &(&str, &str)| sample.labels.get(*name).is_some_and(|other| other == value);
            sample.name == name && sample.labels.len() == labels.len() && labels.iter().all(is)
        };
        self.samples.iter().find(has).map(|sample| sample.value)
    }

    /// Of all labels together.
    #[track_caller]
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let values: Vec<_> =
            self.samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).collect();
        assert!(!values.is_empty(), "no {name}");
        values.iter().sum()
    }
}
