//! The grammar: bytes of a frame -> what a [`Make`] makes of each value.

use super::{
    DEPTH, Text, V8Error,
    bytes::{BigInt, Bytes, Result},
    tag,
};

/// A value that contains no others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Leaf<'a> {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    BigInt(BigInt<'a>),
    Text(Text<'a>),
    /// Milliseconds since 1970.
    Date(f64),
    View(View<'a>),
    /// A RegExp or an ArrayBuffer: an object without fields of its own.
    Opaque,
}

/// A typed array or the like, as Node writes it: which kind in its own list, and the bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct View<'a> {
    pub(super) kind: u32,
    pub(super) bytes: &'a [u8],
}

/// A value that contains others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    /// With as many elements, each of which comes.
    Array(u32),
    /// With as many elements, most of which do not come.
    Sparse(u32),
    Map,
    Set,
    Error,
}

/// Where in its container a value stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key<'a> {
    Name(Text<'a>),
    Index(f64),
    /// After the one before it.
    Next,
}

/// What becomes of values.
pub(super) trait Make<'a> {
    type Made;
    /// A container that is not at its end.
    type Open;

    fn leaf(&mut self, leaf: Leaf<'a>) -> Result<Self::Made, V8Error>;
    fn open(&mut self, kind: Kind) -> Result<Self::Open, V8Error>;
    fn put(&mut self, open: &mut Self::Open, key: Key<'a>, value: Self::Made) -> Result<(), V8Error>;
    fn close(&mut self, open: Self::Open) -> Self::Made;

    /// An object begins here; they are numbered in this order.
    fn begin(&mut self, _at: usize) {}

    /// Whether an object that comes again is to be read again.
    fn follows(&self) -> bool {
        false
    }
}

/// Reads a frame.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: Bytes<'a>,
    depth: usize,
    /// Where each object of the frame begins; found out when the first comes again.
    objects: Option<Vec<usize>>,
    /// The objects that the one being read stands in, if they may come again.
    around: Vec<usize>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes: Bytes::new(bytes, at), depth: 0, objects: None, around: Vec::new() }
    }

    pub(super) fn at(&self) -> usize {
        self.bytes.at()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.bytes.left() == 0
    }

    /// Checks the header and passes it.
    pub(super) fn header(&mut self) -> Result<()> {
        self.bytes.header()
    }

    /// Reads one value.
    pub(super) fn read<M: Make<'a>>(&mut self, make: &mut M) -> Result<M::Made> {
        self.bytes.pass_padding()?;
        let at = self.bytes.at();
        let leaf = match self.bytes.byte()? {
            tag::UNDEFINED | tag::HOLE => Leaf::Undefined,
            tag::NULL => Leaf::Null,
            tag::TRUE => Leaf::Bool(true),
            tag::FALSE => Leaf::Bool(false),
            tag::INT => Leaf::Number(f64::from(self.bytes.int()?)),
            tag::UINT => Leaf::Number(f64::from(self.bytes.varint()?)),
            tag::DOUBLE => Leaf::Number(self.bytes.double()?),
            tag::BIGINT => Leaf::BigInt(self.bytes.bigint()?),
            kind @ (tag::ONE_BYTE | tag::TWO_BYTE | tag::UTF8) => Leaf::Text(self.bytes.text(kind)?),
            tag::REFERENCE => return self.reference(at, make),
            object => return self.object(at, object, make),
        };
        make.leaf(leaf)
    }

    /// A value that has a number.
    fn object<M: Make<'a>>(&mut self, at: usize, kind: u8, make: &mut M) -> Result<M::Made> {
        make.begin(at);
        let leaf = match kind {
            tag::OBJECT => return self.container(at, Kind::Object, make),
            tag::ARRAY | tag::SPARSE => return self.array(at, kind, make),
            tag::MAP => return self.container(at, Kind::Map, make),
            tag::SET => return self.container(at, Kind::Set, make),
            tag::ERROR => return self.container(at, Kind::Error, make),
            tag::HOST => return self.host(at, make),
            tag::DATE => Leaf::Date(self.bytes.double()?),
            tag::TRUE_OBJECT => Leaf::Bool(true),
            tag::FALSE_OBJECT => Leaf::Bool(false),
            tag::NUMBER_OBJECT => Leaf::Number(self.bytes.double()?),
            tag::BIGINT_OBJECT => Leaf::BigInt(self.bytes.bigint()?),
            tag::STRING_OBJECT => Leaf::Text(self.bytes.expect_text()?),
            tag::REGEXP => {
                self.bytes.expect_text()?;
                self.bytes.varint()?;
                Leaf::Opaque
            }
            tag::BUFFER | tag::RESIZABLE_BUFFER => self.buffer(at, kind, make)?,
            tag => return Err(V8Error::Unsupported { tag, at }),
        };
        make.leaf(leaf)
    }

    fn array<M: Make<'a>>(&mut self, at: usize, kind: u8, make: &mut M) -> Result<M::Made> {
        let length = self.bytes.varint()?;
        if kind == tag::SPARSE {
            return self.container(at, Kind::Sparse(length), make);
        }
        // Each element takes a byte at least.
        if length as usize > self.bytes.left() {
            return Err(V8Error::Truncated);
        }
        self.container(at, Kind::Array(length), make)
    }

    fn container<M: Make<'a>>(&mut self, at: usize, kind: Kind, make: &mut M) -> Result<M::Made> {
        if self.depth == DEPTH {
            return Err(V8Error::TooDeep);
        }
        self.depth += 1;
        let follows = make.follows();
        if follows {
            self.around.push(at);
        }
        let mut open = make.open(kind)?;
        match kind {
            Kind::Object => self.fields(tag::OBJECT_END, None, &mut open, make)?,
            Kind::Sparse(length) => self.fields(tag::SPARSE_END, Some(length), &mut open, make)?,
            Kind::Array(length) => {
                for _ in 0..length {
                    let value = self.read(make)?;
                    make.put(&mut open, Key::Next, value)?;
                }
                self.fields(tag::ARRAY_END, Some(length), &mut open, make)?;
            }
            Kind::Map => self.entries(tag::MAP_END, &mut open, make)?,
            Kind::Set => self.entries(tag::SET_END, &mut open, make)?,
            Kind::Error => self.error(&mut open, make)?,
        }
        if follows {
            self.around.pop();
        }
        self.depth -= 1;
        Ok(make.close(open))
    }

    /// Names and values up to `end`, behind which stand their number and, for an array, its length once more.
    fn fields<M: Make<'a>>(
        &mut self,
        end: u8,
        length: Option<u32>,
        open: &mut M::Open,
        make: &mut M,
    ) -> Result<()> {
        let mut count = 0;
        while let Some(key) = self.key(end)? {
            let value = self.read(make)?;
            make.put(open, key, value)?;
            count += 1;
        }
        let at = self.bytes.at();
        let agrees =
            self.bytes.varint()? == count && length.is_none_or(|length| self.bytes.varint() == Ok(length));
        if agrees { Ok(()) } else { Err(V8Error::Malformed { what: "a wrong number of fields", at }) }
    }

    /// The name of the next field, or `None` after the last.
    pub(super) fn key(&mut self, end: u8) -> Result<Option<Key<'a>>> {
        self.bytes.pass_padding()?;
        let at = self.bytes.at();
        Ok(Some(match self.bytes.byte()? {
            tag if tag == end => return Ok(None),
            tag::INT => Key::Index(f64::from(self.bytes.int()?)),
            tag::UINT => Key::Index(f64::from(self.bytes.varint()?)),
            tag::DOUBLE => Key::Index(self.bytes.double()?),
            kind @ (tag::ONE_BYTE | tag::TWO_BYTE | tag::UTF8) => Key::Name(self.bytes.text(kind)?),
            _ => return Err(V8Error::Malformed { what: "no name of a field", at }),
        }))
    }

    /// The end of the fields of an object, which [`Reader::key`] has seen.
    pub(super) fn fields_end(&mut self, count: u32) -> Result<()> {
        let at = self.bytes.at();
        match self.bytes.varint()? {
            said if said == count => Ok(()),
            _ => Err(V8Error::Malformed { what: "a wrong number of fields", at }),
        }
    }

    /// Passes the tag of an object, if there is one.
    pub(super) fn object_begins(&mut self) -> Result<bool> {
        self.bytes.pass_padding()?;
        let begins = self.bytes.peek() == Some(&tag::OBJECT);
        if begins {
            self.bytes.byte()?;
        }
        Ok(begins)
    }

    /// Passes the tag of an array in which every element comes, if there is one, and tells how many do.
    pub(super) fn array_begins(&mut self) -> Result<Option<u32>> {
        self.bytes.pass_padding()?;
        if self.bytes.peek() != Some(&tag::ARRAY) {
            return Ok(None);
        }
        self.bytes.byte()?;
        self.bytes.varint().map(Some)
    }

    /// What a Map or a Set holds.
    fn entries<M: Make<'a>>(&mut self, end: u8, open: &mut M::Open, make: &mut M) -> Result<()> {
        let mut count = 0;
        loop {
            self.bytes.pass_padding()?;
            if self.bytes.peek() == Some(&end) {
                break;
            }
            let value = self.read(make)?;
            make.put(open, Key::Next, value)?;
            count += 1;
        }
        self.bytes.byte()?;
        self.fields_end(count)
    }

    /// What is known of an Error, each part behind a letter of its own.
    fn error<M: Make<'a>>(&mut self, open: &mut M::Open, make: &mut M) -> Result<()> {
        loop {
            let at = self.bytes.at();
            match self.bytes.byte()? {
                // Which kind of Error.
                b'E' | b'R' | b'F' | b'S' | b'T' | b'U' => {}
                // The message and the stack.
                b'm' | b's' => drop(self.bytes.expect_text()?),
                b'c' => {
                    let cause = self.read(make)?;
                    make.put(open, Key::Next, cause)?;
                }
                b'.' => return Ok(()),
                tag => return Err(V8Error::Unsupported { tag, at }),
            }
        }
    }

    /// What V8 leaves to Node: a view of bytes, or the fields of an object that only this process could have.
    fn host<M: Make<'a>>(&mut self, at: usize, make: &mut M) -> Result<M::Made> {
        match self.bytes.varint()? {
            0 => {
                let kind = self.bytes.varint()?;
                let length = self.bytes.varint()?;
                let bytes = self.bytes.take(length as usize)?;
                make.leaf(Leaf::View(View { kind, bytes }))
            }
            1 => {
                // It contains only one other, so it must count for the depth by itself.
                if self.depth == DEPTH {
                    return Err(V8Error::TooDeep);
                }
                self.depth += 1;
                let copy = self.read(make);
                self.depth -= 1;
                copy
            }
            _ => Err(V8Error::Unsupported { tag: tag::HOST, at }),
        }
    }

    /// An ArrayBuffer. A view of one stands right behind it and takes its place; it has a number too.
    fn buffer<M: Make<'a>>(&mut self, at: usize, kind: u8, make: &mut M) -> Result<Leaf<'a>> {
        let length = self.bytes.varint()?;
        if kind == tag::RESIZABLE_BUFFER {
            self.bytes.varint()?;
        }
        self.bytes.take(length as usize)?;
        if self.bytes.peek() == Some(&tag::VIEW) {
            make.begin(at);
            // Its tag and kind, then where it begins and how long it is. Flags came with version 14.
            self.bytes.take(2)?;
            let flags = self.bytes.version() >= 14;
            for _ in 0..2 + usize::from(flags) {
                self.bytes.varint()?;
            }
        }
        Ok(Leaf::Opaque)
    }

    /// An object that has come before.
    fn reference<M: Make<'a>>(&mut self, at: usize, make: &mut M) -> Result<M::Made> {
        let number = self.bytes.varint()? as usize;
        if !make.follows() {
            return make.leaf(Leaf::Undefined);
        }
        if self.objects.is_none() {
            self.objects = Some(objects(self.bytes.frame())?);
        }
        let place = self.objects.as_ref().and_then(|objects| objects.get(number)).copied();
        let Some(place) = place.filter(|&place| place < at) else {
            return Err(V8Error::Malformed { what: "a reference to no object", at });
        };
        if self.around.contains(&place) {
            return Err(V8Error::Cyclic);
        }
        let after = self.bytes.move_to(place);
        let value = self.read(make)?;
        self.bytes.move_to(after);
        Ok(value)
    }
}

/// Where each object of a frame begins.
fn objects(frame: &[u8]) -> Result<Vec<usize>> {
    struct Index(Vec<usize>);

    impl Make<'_> for Index {
        type Made = ();
        type Open = ();

        fn leaf(&mut self, _: Leaf<'_>) -> Result<()> {
            Ok(())
        }

        fn open(&mut self, _: Kind) -> Result<()> {
            Ok(())
        }

        fn put(&mut self, (): &mut (), _: Key<'_>, (): ()) -> Result<()> {
            Ok(())
        }

        fn close(&mut self, (): ()) {}

        fn begin(&mut self, at: usize) {
            self.0.push(at);
        }
    }

    let mut reader = Reader::new(frame, 0);
    let mut index = Index(Vec::new());
    reader.header()?;
    reader.read(&mut index)?;
    Ok(index.0)
}
