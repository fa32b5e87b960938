//! Lines of a text file by number, and the fields of one line.
//!
//! Apart from the readers, because all but CSV need the same care: LF or CRLF, a byte order mark, a bound on a line's
//! length, and errors that say where they are.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::error::{CaptureError, shown};

/// Longest line, in bytes: as long as the largest event that is decoded by default, so that a file without line ends
/// cannot fill the memory.
pub(crate) const MAX_LINE: usize = 1 << 20;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// What was read of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineRead {
    /// All of it.
    Whole,
    /// So many bytes, of which none is kept.
    TooLong(u64),
    /// Nothing was left.
    End,
}

/// Reads one line into `line`, without its LF or CRLF. One of more than `most` bytes is skipped up to its end.
pub(crate) fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>, most: usize) -> io::Result<LineRead> {
    line.clear();
    let read = reader.by_ref().take(most as u64 + 2).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(LineRead::End);
    }
    let ended = line.last() == Some(&b'\n');
    line.truncate(without_end(line).len());
    if line.len() <= most {
        return Ok(LineRead::Whole);
    }
    line.clear();
    let rest = if ended { 0 } else { skip_line(reader)? };
    Ok(LineRead::TooLong(read as u64 + rest))
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let bytes = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(bytes);
        skipped += bytes as u64;
        if end.is_some() || bytes == 0 {
            return Ok(skipped);
        }
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Reads lines into one buffer.
pub(crate) struct Lines<R> {
    path: PathBuf,
    reader: R,
    buffer: Vec<u8>,
    number: u64,
    any: bool,
    expected: &'static str,
}

impl Lines<BufReader<File>> {
    /// Opens a file whose rows hold `expected`.
    pub(crate) fn open(path: &Path, expected: &'static str) -> Result<Self, CaptureError> {
        let file = File::open(path).map_err(CaptureError::read(path))?;
        Ok(Self::new(path, BufReader::with_capacity(1 << 16, file), expected))
    }
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(path: &Path, reader: R, expected: &'static str) -> Self {
        Self { path: path.to_owned(), reader, buffer: Vec::new(), number: 0, any: false, expected }
    }

    /// The next line that is not empty, or `None` at the end; a file without any such line is an error.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>, CaptureError> {
        loop {
            self.buffer.clear();
            let mut limited = self.reader.by_ref().take(MAX_LINE as u64 + 1);
            let read = limited.read_until(b'\n', &mut self.buffer).map_err(CaptureError::read(&self.path))?;
            if read == 0 && self.any {
                return Ok(None);
            }
            if read == 0 {
                return Err(CaptureError::Empty { path: self.path.clone(), expected: self.expected });
            }
            self.number += 1;
            if read > MAX_LINE {
                return Err(self.line(&self.buffer).row(format!("the line is longer than {MAX_LINE} bytes")));
            }
            if !trimmed(&self.buffer, self.number).is_empty() {
                break;
            }
        }
        self.any = true;
        Ok(Some(self.line(trimmed(&self.buffer, self.number))))
    }

    fn line<'a>(&'a self, bytes: &'a [u8]) -> Line<'a> {
        Line { path: &self.path, number: self.number, bytes, expected: self.expected }
    }
}

/// Reads a whole file of rows.
pub(crate) fn read_rows<T, const N: usize>(
    path: &Path,
    separator: char,
    expected: &'static str,
    mut parse: impl FnMut([Field<'_>; N]) -> Result<T, CaptureError>,
) -> Result<Vec<T>, CaptureError> {
    rest(Lines::open(path, expected)?, separator, &mut parse)
}

/// Reads a whole file of rows between tabs under exactly this header.
pub(crate) fn read_table<T, const N: usize>(
    path: &Path,
    header: &'static str,
    mut parse: impl FnMut([Field<'_>; N]) -> Result<T, CaptureError>,
) -> Result<Vec<T>, CaptureError> {
    let mut lines = Lines::open(path, header)?;
    if let Some(line) = lines.next()?
        && line.bytes != header.as_bytes()
    {
        return Err(line.row("the header is another".to_owned()));
    }
    rest(lines, '\t', &mut parse)
}

fn rest<T, const N: usize>(
    mut lines: Lines<impl BufRead>,
    separator: char,
    parse: &mut impl FnMut([Field<'_>; N]) -> Result<T, CaptureError>,
) -> Result<Vec<T>, CaptureError> {
    let mut rows = Vec::new();
    while let Some(line) = lines.next()? {
        rows.push(parse(line.fields(separator)?)?);
    }
    Ok(rows)
}

fn trimmed(line: &[u8], number: u64) -> &[u8] {
    let line = without_end(line);
    if number == 1 { line.strip_prefix(BOM).unwrap_or(line) } else { line }
}

/// One line without its end, and where it is.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) path: &'a Path,
    pub(crate) number: u64,
    pub(crate) bytes: &'a [u8],
    pub(crate) expected: &'static str,
}

impl<'a> Line<'a> {
    /// The line's `N` fields between separators.
    pub(crate) fn fields<const N: usize>(self, separator: char) -> Result<[Field<'a>; N], CaptureError> {
        let fields = self.split(separator);
        <[Field; N]>::try_from(fields)
            .map_err(|fields| self.row(format!("the line has {} fields between {separator:?}, not {N}", fields.len())))
    }

    /// All fields of the line.
    pub(crate) fn split(self, separator: char) -> Vec<Field<'a>> {
        let of = move |bytes| Field { line: self, bytes };
        self.bytes.split(move |&byte| char::from(byte) == separator).map(of).collect()
    }

    /// An error about the whole line.
    pub(crate) fn row(self, problem: String) -> CaptureError {
        CaptureError::Row {
            path: self.path.to_owned(),
            line: self.number,
            problem,
            found: shown(self.bytes),
            expected: self.expected,
        }
    }

    /// An error about one field of the line.
    pub(crate) fn field(self, field: &'static str, found: &[u8], allowed: &'static str) -> CaptureError {
        CaptureError::Field { path: self.path.to_owned(), line: self.number, field, found: shown(found), allowed }
    }
}

/// One field of a line.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    line: Line<'a>,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Field<'a> {
    /// The field as UTF-8 text that is not empty.
    pub(crate) fn text(self, name: &'static str) -> Result<&'a str, CaptureError> {
        let refuse = || self.line.field(name, self.bytes, "UTF-8 text that is not empty");
        std::str::from_utf8(self.bytes).ok().filter(|text| !text.is_empty()).ok_or_else(refuse)
    }

    /// The field as text in Latin-1, as the older data sets are written.
    pub(crate) fn latin1(self) -> Cow<'a, str> {
        encoding_rs::mem::decode_latin1(self.bytes)
    }

    /// The field as a number that `accept` allows.
    pub(crate) fn number<T: std::str::FromStr>(
        self,
        name: &'static str,
        allowed: &'static str,
        accept: impl FnOnce(&T) -> bool,
    ) -> Result<T, CaptureError> {
        let number = std::str::from_utf8(self.bytes).ok().and_then(|text| text.parse().ok());
        number.filter(accept).ok_or_else(|| self.line.field(name, self.bytes, allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, String> {
        let mut lines = Lines::new(Path::new("f"), bytes, "rows");
        let mut found = Vec::new();
        while let Some(line) = lines.next().map_err(|error| error.to_string())? {
            found.push((line.number, line.bytes.to_vec()));
        }
        Ok(found)
    }

    #[test]
    fn line_ends_and_a_byte_order_mark_are_not_part_of_a_line() {
        let lines = all(b"\xef\xbb\xbfa\r\n\r\nb\nc").unwrap();
        assert_eq!(lines, [(1, b"a".to_vec()), (3, b"b".to_vec()), (4, b"c".to_vec())]);
    }

    #[test]
    fn a_file_without_a_line_is_an_error_that_says_what_was_expected() {
        assert_eq!(all(b"").unwrap_err(), "f is empty; expected rows");
        assert_eq!(all(b"\xef\xbb\xbf\r\n\n").unwrap_err(), "f is empty; expected rows");
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_to_its_end_and_the_next_one_is_read() {
        let text = [b"1234\r\n12345\n", &b"x".repeat(100_000)[..], b"\n\n\xff\n12345"].concat();
        // A small buffer, so that a long line is more than one.
        let mut reader = BufReader::with_capacity(7, &text[..]);
        let mut line = Vec::new();
        let mut read = || (read_line(&mut reader, &mut line, 4).unwrap(), line.clone());
        assert_eq!(read(), (LineRead::Whole, b"1234".to_vec()));
        assert_eq!(read(), (LineRead::TooLong(6), Vec::new()));
        assert_eq!(read(), (LineRead::TooLong(100_001), Vec::new()));
        assert_eq!(read(), (LineRead::Whole, Vec::new()));
        assert_eq!(read(), (LineRead::Whole, b"\xff".to_vec()));
        assert_eq!(read(), (LineRead::TooLong(5), Vec::new()));
        assert_eq!(read(), (LineRead::End, Vec::new()));
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let error = all(&vec![b'x'; MAX_LINE + 10]).unwrap_err();
        assert!(error.starts_with("f: line 1: the line is longer than 1048576 bytes; found \"xxx"), "{error}");
        assert_eq!(all(&vec![b'x'; MAX_LINE]).unwrap().len(), 1);
    }
}
