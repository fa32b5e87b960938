//! Bytes as text that a person reads.

use std::fmt::Write as _;

/// Bytes on a line of a hex dump.
const DUMP_WIDTH: usize = 16;

/// Bytes on one line: text as it is, control characters and what is not UTF-8 escaped, cut after `most` characters.
pub(in crate::cli) fn printable(bytes: &[u8], most: usize) -> String {
    let mut text = String::new();
    print_safely(&mut text, bytes, most);
    text
}

/// Appends what [`printable`] returns.
pub(in crate::cli) fn print_safely(text: &mut String, bytes: &[u8], most: usize) {
    let mut left = most;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if left == 0 {
                text.push('…');
                return;
            }
            left -= 1;
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            if left == 0 {
                text.push('…');
                return;
            }
            left -= 1;
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
}

/// Offset, hex digits and ASCII of each sixteen bytes, as `xxd` has them.
pub(super) fn hex_dump(bytes: &[u8]) -> String {
    let mut dump = String::new();
    for (line, bytes) in bytes.chunks(DUMP_WIDTH).enumerate() {
        let digits: Vec<String> = bytes.chunks(2).map(hex::encode).collect();
        let ascii: String =
            bytes.iter().map(|&byte| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' }).collect();
        let _ = writeln!(dump, "{:08x}: {:39}  {ascii}", line * DUMP_WIDTH, digits.join(" "));
    }
    dump
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_on_one_line_without_control_characters() {
        assert_eq!(printable("{\"a\":\"é\n\"}".as_bytes(), 99), "{\"a\":\"é\\n\"}");
        assert_eq!(printable(b"\xff\xfe\x1b[31mx", 99), "\\xff\\xfe\\u{1b}[31mx");
        assert_eq!(printable(b"abcdef", 3), "abc…");
        assert_eq!(printable(b"abc", 3), "abc");
    }

    #[test]
    fn a_dump_has_offset_digits_and_ascii() {
        let dump = hex_dump(b"\xff\x00 garbage, and more");
        let lines: Vec<_> = dump.lines().collect();
        assert_eq!(lines[0], "00000000: ff00 2067 6172 6261 6765 2c20 616e 6420  .. garbage, and ");
        assert_eq!(lines[1], "00000010: 6d6f 7265                                more");
    }
}
