//! A value where it stands in a frame, and the fields of an object one after the other, with nothing kept.

use super::{
    Leaf, Text, V8Error,
    bytes::HEADER,
    read::{Key, Kind, Make, Reader},
    tag,
};

/// A value within a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// All of it: an object may refer to one that came before.
    frame: &'a [u8],
    at: usize,
}

/// A field of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) name: Text<'a>,
    pub(crate) place: Place<'a>,
    /// The value, if it contains no others.
    pub(crate) leaf: Option<Leaf<'a>>,
}

/// The fields of an object that are not undefined: those that would be there in JSON.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    frame: &'a [u8],
    reader: Reader<'a>,
    count: u32,
    /// Why the last field could not be passed: where the next one begins is not known.
    stopped: Option<V8Error>,
}

impl<'a> Place<'a> {
    /// The value of a frame.
    pub fn of_frame(frame: &'a [u8]) -> Result<Self, V8Error> {
        let mut reader = Reader::new(frame, 0);
        reader.header()?;
        Ok(Self { frame, at: reader.at() })
    }

    /// Looks whether this value is whole, and the last if it is its frame's own.
    pub(crate) fn check(self) -> Result<(), V8Error> {
        let mut reader = self.reader();
        reader.read(&mut Shallow)?;
        if self.at == HEADER && !reader.is_at_end() {
            return Err(V8Error::Malformed { what: "something after the value", at: reader.at() });
        }
        Ok(())
    }

    /// The fields, if this is an object.
    pub(crate) fn fields(self) -> Result<Option<Fields<'a>>, V8Error> {
        let mut reader = self.reader();
        let begins = reader.object_begins()?;
        Ok(begins.then_some(Fields { frame: self.frame, reader, count: 0, stopped: None }))
    }

    /// The elements, if this is an array and each is a leaf; what is after those that are is not looked at.
    pub(crate) fn leaves(self) -> Result<Option<impl Iterator<Item = Leaf<'a>> + Clone>, V8Error> {
        let mut reader = self.reader();
        let length = reader.array_begins()?;
        Ok(length.map(|length| (0..length).map_while(move |_| reader.read(&mut Shallow).ok().flatten())))
    }

    /// How many elements this has, if it is an array.
    pub(crate) fn length(self) -> Result<Option<u32>, V8Error> {
        self.reader().array_begins()
    }

    /// The bytes from here to the end of the frame.
    pub(crate) fn rest(self) -> &'a [u8] {
        &self.frame[self.at..]
    }

    pub(super) fn reader(self) -> Reader<'a> {
        Reader::new(self.frame, self.at)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, V8Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read() {
                Ok(Some(Field { leaf: Some(Leaf::Undefined), .. })) => {}
                read => return read.transpose(),
            }
        }
    }
}

impl<'a> Fields<'a> {
    /// A field that V8 may have written, but that is not read here, is shown still, and the error comes after it.
    fn read(&mut self) -> Result<Option<Field<'a>>, V8Error> {
        if let Some(error) = self.stopped {
            return Err(error);
        }
        let Some(key) = self.reader.key(tag::OBJECT_END)? else {
            return self.reader.fields_end(self.count).map(|()| None);
        };
        let name = match key {
            Key::Name(name) => name,
            // A number names nothing that is looked for.
            Key::Index(_) | Key::Next => Text::Utf8(""),
        };
        let place = Place { frame: self.frame, at: self.reader.at() };
        let leaf = match self.reader.read(&mut Shallow) {
            Err(error) if !error.is_fault() => {
                self.stopped = Some(error);
                None
            }
            read => read?,
        };
        self.count = self.count.saturating_add(1);
        Ok(Some(Field { name, place, leaf }))
    }
}

/// Passes over values, and shows those that contain no others.
struct Shallow;

impl<'a> Make<'a> for Shallow {
    type Made = Option<Leaf<'a>>;
    type Open = ();

    fn leaf(&mut self, leaf: Leaf<'a>) -> Result<Self::Made, V8Error> {
        Ok(Some(leaf))
    }

    fn open(&mut self, _: Kind) -> Result<(), V8Error> {
        Ok(())
    }

    fn put(&mut self, (): &mut (), _: Key<'a>, _: Self::Made) -> Result<(), V8Error> {
        Ok(())
    }

    fn close(&mut self, (): ()) -> Self::Made {
        None
    }
}
