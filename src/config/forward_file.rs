//! Entries of a TOML file -> the lists of `super::forward_lists`, which have tables besides texts.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    file::{Parsed, Reader, mismatch, string},
    forward_lists::{ListsLayer, Page, Server, unknown_name},
    layer::Given,
    value::BadValue,
};

impl Reader<'_> {
    /// Whether it is one of the lists of how requests are forwarded.
    pub(super) fn forward_entry(
        &mut self,
        lists: &mut ListsLayer,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> bool {
        match key {
            "upstreams" => lists.upstreams = self.servers(value),
            "trusted_proxies" => lists.trusted_proxies = self.list(value, |value| string(value)?.parse()),
            "error_pages" => lists.error_pages = self.pages(value),
            _ => return false,
        }
        true
    }

    /// Texts, as in a flag, and tables.
    fn servers(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Given<Vec<Server>>> {
        let items = value.get_ref().as_array().map_or(std::slice::from_ref(value), |items| &items[..]);
        let mut found = Vec::new();
        for item in items {
            found.extend(match item.get_ref() {
                DeValue::Table(table) => self.server(item, table),
                _ => self.one(item, |value| string(value)?.parse()).map(|given| given.value),
            });
        }
        Some(Given::new(found, self.place(value.span())))
    }

    fn server(&mut self, item: &Spanned<DeValue<'_>>, table: &DeTable<'_>) -> Option<Server> {
        let Some((_, address)) = table.iter().find(|(name, _)| name.get_ref().as_ref() == "address") else {
            let bad = BadValue::new("no address", "write { address = \"10.0.0.5:3000\", weight = 2 }");
            self.problem(item.span(), bad);
            return None;
        };
        let mut server = self.one(address, |value| Server::at(string(value)?))?.value;
        for (name, value) in table.iter().filter(|(name, _)| name.get_ref().as_ref() != "address") {
            match name.get_ref().as_ref() {
                key @ ("weight" | "backup") => {
                    self.one(value, |value| server.set(key, Some(&text(key, value)?)));
                }
                other => self.problem(name.span(), unknown_name(other)),
            }
        }
        Some(server)
    }

    /// A table of codes, or texts as in a flag.
    fn pages(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Given<Vec<Page>>> {
        let DeValue::Table(table) = value.get_ref() else {
            return self.list(value, |value| string(value)?.parse());
        };
        let mut found = Vec::new();
        for (code, path) in table {
            match Page::new(code.get_ref(), "") {
                Err(bad) => self.problem(code.span(), bad),
                Ok(_) => found.extend(
                    self.one(path, |path| Page::new(code.get_ref(), string(path)?)).map(|given| given.value),
                ),
            }
        }
        Some(Given::new(found, self.place(value.span())))
    }
}

/// What a server's table has, as it is written in a flag.
fn text(key: &str, value: &DeValue<'_>) -> Parsed<String> {
    match (key, value) {
        ("weight", DeValue::Integer(number)) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        ("backup", DeValue::Boolean(on)) => Ok(on.to_string()),
        ("weight", other) => Err(mismatch("a number", other, "write weight = 2")),
        (_, other) => Err(mismatch("true or false", other, "write backup = true")),
    }
}
