//! Reads PDFs back, as far as it has to: the pages' drawings in their order, and the text that they show.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use flate2::read::ZlibDecoder;
use proptest::prelude::*;

use super::*;
use crate::export::sgr;

fn document(lines: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut pdf = Pdf::new(&About { title: "a title".to_owned(), cols: 80 }).unwrap();
    pdf.begin(&mut out).unwrap();
    lines.iter().for_each(|line| pdf.take(Item::Lines(format!("{line}\n").as_bytes()), &mut out).unwrap());
    pdf.finish(&mut out).unwrap();
    out
}

/// What draws each page.
fn drawings(document: &[u8]) -> Vec<Vec<u8>> {
    let starts = memchr::memmem::find_iter(document, b"stream\n").filter(|at| !document[..*at].ends_with(b"end"));
    let inflated = starts.map(|at| {
        let mut data = Vec::new();
        ZlibDecoder::new(&document[at + "stream\n".len()..]).read_to_end(&mut data).unwrap();
        data
    });
    inflated.filter(|data| memchr::memmem::find(data, b"/Artifact BMC").is_some()).collect()
}

/// An operand or an operator, without what is of no matter here.
#[derive(Debug)]
enum Token {
    Word(String),
    Bytes(Vec<u8>),
}

fn tokens(drawing: &[u8]) -> Vec<Token> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < drawing.len() {
        let rest = &drawing[at..];
        at += match rest[0] {
            b'(' => {
                let (bytes, length) = literal(rest);
                tokens.push(Token::Bytes(bytes));
                length
            }
            b'<' if rest.starts_with(b"<<") => 2,
            b'<' => {
                let length = rest.iter().position(|byte| *byte == b'>').unwrap() + 1;
                let digits = std::str::from_utf8(&rest[1..length - 1]).unwrap();
                let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
                tokens.push(Token::Bytes((0..digits.len()).step_by(2).map(byte).collect()));
                length
            }
            byte if b" \n[]<>".contains(&byte) => 1,
            _ => {
                let length = 1 + rest[1..].iter().take_while(|byte| !b" \n[]<>(/".contains(byte)).count();
                tokens.push(Token::Word(String::from_utf8(rest[..length].to_vec()).unwrap()));
                length
            }
        };
    }
    tokens
}

/// A string in brackets, and how long it was (ISO 32000-1, 7.3.4.2).
fn literal(source: &[u8]) -> (Vec<u8>, usize) {
    let (mut bytes, mut depth, mut at) = (Vec::new(), 0, 0);
    loop {
        let byte = source[at];
        at += 1;
        match byte {
            b'\\' => {
                let digits = source[at..].iter().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
                let value = source[at..at + digits].iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                bytes.push(match source[at] {
                    _ if digits > 0 => value as u8,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'f' => 12,
                    other => other,
                });
                at += digits.max(1);
                continue;
            }
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        match (byte, depth) {
            (_, 0) => return (bytes, at),
            (b'(', 1) => {}
            (byte, _) => bytes.push(byte),
        }
    }
}

/// The rows of a page that show something, and what.
fn rows(drawing: &[u8], sheet: Sheet) -> BTreeMap<usize, String> {
    let (mut rows, mut row, mut plane, mut foot) = (BTreeMap::<usize, String>::new(), 0, 0, false);
    let tokens = tokens(drawing);
    for (at, token) in tokens.iter().enumerate() {
        let word = |back: usize| match &tokens[at - back] {
            Token::Word(word) => word.as_str(),
            Token::Bytes(_) => panic!("bytes before {token:?}"),
        };
        match (token, at.checked_sub(1).map(|before| &tokens[before])) {
            (Token::Word(name), _) if name == "BMC" => foot = word(1) == "/Artifact",
            (Token::Word(name), _) if name == "Tm" => row = sheet.row_at(word(1).parse().unwrap()),
            (Token::Word(name), _) if name == "Tf" => plane = word(2)[2..].parse().unwrap(),
            (Token::Word(name), Some(Token::Bytes(bytes))) if name == "Tj" && !foot => {
                let code = |pair: &[u8]| char::from_u32(plane << 16 | u32::from(pair[0]) << 8 | u32::from(pair[1])).unwrap();
                rows.entry(row).or_default().extend(bytes.chunks(2).map(code));
            }
            _ => {}
        }
    }
    rows
}

/// The text of a document: rows, those that show nothing as empty ones, without those at the end.
fn text(document: &[u8], sheet: Sheet) -> Vec<String> {
    let mut text = Vec::new();
    for (number, drawing) in drawings(document).iter().enumerate() {
        for (row, shown) in rows(drawing, sheet) {
            text.resize(number * sheet.rows + row, String::new());
            text.push(shown);
        }
    }
    text
}

/// Lines as the rows of a sheet.
fn wrapped(lines: &[String], cols: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for line in lines {
        let text = sgr::text(line);
        let mut rest = text.as_str();
        loop {
            let (row, behind) = rest.split_at(fitting(rest, cols));
            rows.push(row.to_owned());
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
    }
    let shown = rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1);
    rows.truncate(shown);
    rows
}

fn sheet() -> Sheet {
    Sheet::new(80, Font::regular().unwrap().metrics())
}

proptest! {
    #![proptest_config(sgr::tests::cases())]

    #[test]
    fn the_text_is_that_of_the_lines_in_rows(lines in sgr::tests::lines(), copies in 1..6_usize) {
        let lines: Vec<String> = (0..copies).flat_map(|_| lines.clone()).collect();
        prop_assert_eq!(text(&document(&lines), sheet()), wrapped(&lines, sheet().cols));
    }
}

#[test]
fn a_sheet_is_a4_or_as_wide_as_the_terminal() {
    let metrics = Font::regular().unwrap().metrics();
    let sheet = Sheet::new(80, metrics);
    assert_eq!((sheet.cols, sheet.rows, sheet.width), (96, 71, 595.28));
    assert_eq!([97, 160, 240, 1000].map(|cols| Sheet::new(cols, metrics).cols), [97, 160, 240, 240]);
}

#[test]
fn pages_are_full_and_in_order_and_every_object_is_where_the_table_says() {
    let lines: Vec<String> = (0..sheet().rows * (NODE_PAGES + 1) + 1).map(|n| n.to_string()).collect();
    let document = document(&lines);
    assert_eq!(text(&document, sheet()), lines);
    let start = memchr::memmem::rfind(&document, b"startxref\n").unwrap();
    let table: usize = String::from_utf8_lossy(&document[start + 10..]).lines().next().unwrap().parse().unwrap();
    let table = String::from_utf8_lossy(&document[table..start]).into_owned();
    let entries = table.lines().skip(3).take_while(|entry| entry.ends_with(" 00000 n "));
    let mut objects = 0;
    for (number, entry) in entries.enumerate() {
        let at: usize = entry[..10].parse().unwrap();
        assert!(document[at..].starts_with(format!("{} 0 obj", number + 1).as_bytes()), "{entry}");
        objects = number + 1;
    }
    assert!(objects > 2 * (NODE_PAGES + 2));
    assert!(table.contains(&format!("/Size {}/", objects + 1)));
}

/// Takes everything and keeps nothing.
struct Endless(u64);

impl io::Write for Endless {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_too_long_is_refused() {
    let mut pdf = Pdf::new(&About { title: String::new(), cols: 80 }).unwrap();
    pdf.pages = PAGES_MAX - 1;
    let mut out = Endless(0);
    pdf.take(Item::Lines("x\n".repeat(pdf.sheet.rows + 1).as_bytes()), &mut out).unwrap();
    let refused = pdf.finish(&mut out).unwrap_err();
    assert!(matches!(refused, ExportError::TooLong { .. }), "{refused}");
}
