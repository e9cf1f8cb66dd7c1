//! A request's way through what a lane decides, counts and writes down.

use std::time::Duration;

use pointsman::{
    ForwardRules, LogFormat, PolicyName,
    forward::{
        budget::Budget,
        figures::Figures,
        log::AccessLog,
        orders::Upstream,
        pool::Pool,
        record::{Asked, Reason, Record, Times},
        upstreams::{Ask, Outcome, Pick, Upstreams},
    },
    time::Time,
};

/// Requests, one after the other.
pub(crate) struct Lane {
    rules: ForwardRules,
    now: Time,
    upstreams: Upstreams,
    pool: Pool,
    budget: Budget,
    figures: Figures,
    log: AccessLog,
    lines: Vec<u8>,
    record: Record,
}

impl Lane {
    pub(crate) fn new(policy: PolicyName, format: LogFormat) -> Self {
        let upstream = |id: u32| Upstream {
            id,
            endpoint: format!("127.0.0.1:{id}"),
            name: id.to_string(),
            weight: 1 + id % 2,
            backup: id == 4,
            draining: false,
            column: None,
        };
        let list: Vec<_> = (1..=4).map(upstream).collect();
        let mut upstreams = Upstreams::new(policy, 1);
        upstreams.update(Time(0), &list);
        let mut figures = Figures::default();
        figures.know(&list);
        let asked = Asked {
            line: b"GET /\xff HTTP/1.1".into(),
            client: "10.0.0.1".into(),
            agent: b"curl \"8\"".into(),
            ..Asked::default()
        };
        let record = Record {
            status: 200,
            reason: Reason::Done,
            upstream: None,
            tries: 1,
            received: 0,
            sent: 5,
            times: Times::default(),
            asked: Some(Box::new(asked)),
        };
        Self {
            rules: ForwardRules::default(),
            now: Time(0),
            upstreams,
            pool: Pool::default(),
            budget: Budget::default(),
            figures,
            log: AccessLog::new(format, Duration::from_secs(1_800_000_000)),
            lines: Vec::new(),
            record,
        }
    }

    pub(crate) fn run(&mut self, requests: u64) {
        for number in 0..requests {
            self.now = self.now + Duration::from_millis(7);
            self.budget.note_request(self.now);
            let ask = Ask { key: Some(number), ..Ask::default() };
            let Pick::To(id) = self.upstreams.pick(self.now, &self.rules, &ask) else {
                panic!("no upstream")
            };
            let token = self.pool.take(self.now, id).unwrap_or(5);
            self.upstreams.end(self.now, &self.rules, id, Outcome::Served);
            self.pool.put(self.now, &self.rules, id, token, Some(Duration::from_secs(5)));
            self.record.upstream = Some(id);
            self.record.times.ended = self.now;
            self.figures.note(&self.record);
            self.lines.clear();
            self.log.line(&mut self.lines, &self.record, self.upstreams.name(id));
        }
    }

    pub(crate) fn noted(&self) -> u64 {
        self.figures.durations.count()
    }
}
