//! Header blocks of HTTP/2, as much as a test reads and writes.
//!
//! Owns a dynamic table, and Huffman's code for what stands in header fields: its longer codes,
//! for control characters and bytes beyond ASCII, are an error here. Writes no Huffman and indexes
//! nothing, so that a block says what it says. Source: RFC 7541.

use std::{collections::VecDeque, io};

use tables::{HUFFMAN, STATIC};

mod tables;

/// Units: bytes; until the reader says otherwise.
const SIZE_MAX: usize = 4096;

/// A field: name and value.
pub type Field = (String, String);

/// What earlier blocks of a connection have put on record.
#[derive(Debug)]
pub struct Table {
    entries: VecDeque<Field>,
    size: usize,
    size_max: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, size_max: SIZE_MAX }
    }
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("header block: {text}"))
}

impl Table {
    /// The fields of a whole block.
    ///
    /// # Errors
    /// `InvalidData` where it is none.
    pub fn decode(&mut self, block: &[u8]) -> io::Result<Vec<Field>> {
        let mut rest = block;
        let mut fields = Vec::new();
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                fields.push(self.entry(index)?);
            } else if first & 0xe0 == 0x20 {
                self.size_max = integer(&mut rest, 5)?;
                self.evict(0);
            } else {
                let keeps = first & 0x40 != 0;
                let index = integer(&mut rest, if keeps { 6 } else { 4 })?;
                let name = if index == 0 { string(&mut rest)? } else { self.entry(index)?.0 };
                let field = (name, string(&mut rest)?);
                if keeps {
                    self.insert(field.clone());
                }
                fields.push(field);
            }
        }
        Ok(fields)
    }

    fn entry(&self, index: usize) -> io::Result<Field> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let at = index.checked_sub(1).ok_or_else(|| wrong("index 0"))?;
        let found = match at.checked_sub(STATIC.len()) {
            None => STATIC.get(at).map(own),
            Some(at) => self.entries.get(at).cloned(),
        };
        found.ok_or_else(|| wrong("an index beyond the table"))
    }

    fn insert(&mut self, field: Field) {
        let size = field.0.len() + field.1.len() + 32;
        self.evict(size);
        if size <= self.size_max {
            self.size += size;
            self.entries.push_front(field);
        }
    }

    fn evict(&mut self, more: usize) {
        while self.size + more > self.size_max {
            let Some((name, value)) = self.entries.pop_back() else { return };
            self.size -= name.len() + value.len() + 32;
        }
    }
}

fn integer(rest: &mut &[u8], bits: u32) -> io::Result<usize> {
    let cut = || wrong("a number is cut off");
    let max = (1_usize << bits) - 1;
    let (first, tail) = rest.split_first().ok_or_else(cut)?;
    *rest = tail;
    let mut value = usize::from(*first) & max;
    if value < max {
        return Ok(value);
    }
    for shift in (0..28).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or_else(cut)?;
        *rest = tail;
        value += (usize::from(*byte) & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(wrong("a number is too long"))
}

fn string(rest: &mut &[u8]) -> io::Result<String> {
    let packed = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (bytes, tail) =
        rest.split_at_checked(length).ok_or_else(|| wrong("a string is cut off"))?;
    *rest = tail;
    if packed {
        return unpack(bytes);
    }
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn unpack(bytes: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    let (mut code, mut length) = (0_u32, 0_u32);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        (code, length) = (code << 1 | u32::from(bit), length + 1);
        if let Some(character) = character(code, length) {
            text.push(character);
            (code, length) = (0, 0);
        } else if length > 15 {
            return Err(wrong("a character that no test sends"));
        }
    }
    Ok(text)
}

fn character(code: u32, length: u32) -> Option<char> {
    let (mut first, mut width) = (0, 0);
    for (bits, characters) in HUFFMAN {
        first <<= bits - width;
        width = bits;
        if bits == length {
            let at = usize::try_from(code.checked_sub(first)?).ok()?;
            return characters.chars().nth(at);
        }
        first += u32::try_from(characters.len()).unwrap_or(0);
    }
    None
}

/// A block of literal fields.
#[must_use]
pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            put_integer(&mut block, text.len());
            block.extend(text);
        }
    }
    block
}

/// With seven bits, and none of Huffman's.
fn put_integer(block: &mut Vec<u8>, value: usize) {
    let low = |value: usize| u8::try_from(value & 0x7f).unwrap_or(0);
    let Some(mut more) = value.checked_sub(0x7f) else { return block.push(low(value)) };
    block.push(0x7f);
    while more >= 0x80 {
        block.push(low(more) | 0x80);
        more >>= 7;
    }
    block.push(low(more));
}

#[cfg(test)]
mod tests {
    use super::{Table, encode, unpack};

    /// The examples of RFC 7541, C.4.1 and C.6.1.
    #[test]
    fn huffman() {
        let bytes = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(unpack(&bytes).unwrap(), "www.example.com");
        assert_eq!(unpack(&[0x64, 0x02]).unwrap(), "302");
        let date = [
            0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b,
            0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
        ];
        assert_eq!(unpack(&date).unwrap(), "Mon, 21 Oct 2013 20:13:21 GMT");
    }

    /// As in RFC 7541, C.5: what one block puts on record the next one names.
    #[test]
    fn blocks_of_one_connection() {
        let mut table = Table::default();
        let first = [&b"\x48\x03302\x58\x07private"[..], b"\x6e\x17https://www.example.com"];
        let fields = table.decode(&first.concat()).unwrap();
        assert_eq!(fields[0], (":status".to_owned(), "302".to_owned()));
        assert_eq!(fields[2].1, "https://www.example.com");
        let fields = table.decode(b"\x48\x03307\xc0\xbf").unwrap();
        assert_eq!(fields[0].1, "307");
        assert_eq!(fields[1], ("cache-control".to_owned(), "private".to_owned()));
        assert_eq!(fields[2].0, "location");
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "x".repeat(1000);
        let fields = [(":path", "/a?b"), ("x-long", long.as_str()), ("x-none", "")];
        let read = Table::default().decode(&encode(&fields)).unwrap();
        let read: Vec<_> = read.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(read, fields);
    }
}
