//! The fields of a head, with what matters of them to whoever passes it on.

use std::{mem::MaybeUninit, ops::Range};

use super::{Name, Status, framing::Declared};

/// Most fields in a head, whatever else is allowed.
pub const MAX_FIELDS: usize = 128;
/// Most names in `Connection`: each costs a search through all fields.
const MAX_NAMED: usize = 64;

/// Room for the fields of one head.
#[derive(Debug)]
pub struct FieldSlots<'bytes> {
    pub(super) slots: [MaybeUninit<httparse::Header<'bytes>>; MAX_FIELDS],
    pub(super) names: [Name; MAX_FIELDS],
}

impl FieldSlots<'_> {
    /// All of it free.
    pub const fn new() -> Self {
        Self { slots: [const { MaybeUninit::uninit() }; MAX_FIELDS], names: [Name::Other; MAX_FIELDS] }
    }
}

impl Default for FieldSlots<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// The fields of one head, in their order.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'slots, 'bytes> {
    head: &'bytes [u8],
    list: &'slots [httparse::Header<'bytes>],
    names: &'slots [Name],
}

/// One field.
#[derive(Debug, Clone)]
pub struct Field<'bytes> {
    /// What it is here.
    pub name: Name,
    /// As it is written.
    pub text: &'bytes str,
    /// Without the space around it.
    pub value: &'bytes [u8],
    /// Where its line is in the head, the CRLF included.
    pub line: Range<usize>,
}

impl<'slots, 'bytes> Fields<'slots, 'bytes> {
    /// Of a whole head; `names` has room for as many.
    pub(super) fn new(
        head: &'bytes [u8],
        list: &'slots [httparse::Header<'bytes>],
        names: &'slots mut [Name],
    ) -> Self {
        for (name, field) in names.iter_mut().zip(list) {
            *name = Name::of(field.name);
        }
        Self { head, list, names }
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Field<'bytes>> {
        self.list.iter().zip(self.names).enumerate().map(move |(index, (field, &name))| Field {
            name,
            text: field.name,
            value: field.value,
            line: self.start(index)..self.start(index + 1),
        })
    }

    /// The values of all fields of this name.
    pub fn values(self, wanted: Name) -> impl Iterator<Item = &'bytes [u8]> {
        let named = self.list.iter().zip(self.names).filter(move |(_, name)| **name == wanted);
        named.map(|(field, _)| field.value)
    }

    /// The values of all fields of a name that need not be a known one.
    pub fn values_of(self, name: &str) -> impl Iterator<Item = &'bytes [u8]> {
        let named = self.list.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value)
    }

    /// Where the first line ends and the fields begin.
    pub fn begin(self) -> usize {
        self.start(0)
    }

    /// Where they end and the empty line begins.
    pub fn end(self) -> usize {
        self.start(self.list.len())
    }

    /// Lines follow each other without gaps, so each ends where the next begins.
    fn start(self, index: usize) -> usize {
        match self.list.get(index) {
            Some(field) => field.name.as_ptr().addr() - self.head.as_ptr().addr(),
            None => self.head.len().saturating_sub(2),
        }
    }

    /// Whether `Connection` names a field, so that it is not passed on (RFC 9110 §7.6.1).
    pub fn is_named(self, name: &str) -> bool {
        let mut named = self.values(Name::Connection).flat_map(tokens);
        named.any(|token| token.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// The entries of a list (RFC 9110 §5.6.1); empty ones do not count.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// What the fields say of the message's end and of the connection.
#[derive(Debug, Default)]
pub(super) struct Known<'a> {
    pub(super) declared: Declared<'a>,
    pub(super) host: Option<&'a [u8]>,
    pub(super) hosts: usize,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    pub(super) expects_continue: bool,
    /// Fields that `Connection` names beside its own words.
    pub(super) named: usize,
}

impl<'a> Known<'a> {
    pub(super) fn read(fields: Fields<'_, 'a>) -> Result<Self, Status> {
        let mut read = Self::default();
        for (field, name) in fields.list.iter().zip(fields.names) {
            match name {
                Name::ContentLength => {
                    let before = read.declared.content_length.replace(field.value);
                    read.declared.repeated |= before.is_some();
                }
                Name::TransferEncoding => {
                    let before = read.declared.transfer_encoding.replace(field.value);
                    read.declared.repeated |= before.is_some();
                }
                Name::Host => {
                    read.host = Some(field.value);
                    read.hosts += 1;
                }
                Name::Expect => read.expects_continue |= field.value.eq_ignore_ascii_case(b"100-continue"),
                Name::Connection => read.connection(field.value),
                _ => {}
            }
        }
        if read.named > MAX_NAMED { Err(Status::FieldsTooLarge) } else { Ok(read) }
    }

    fn connection(&mut self, value: &[u8]) {
        for token in tokens(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if token.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.named += 1;
            }
        }
    }
}
