//! Writes the rows of any data set as CSV or NDJSON, which the readers here and other programs can read.
//!
//! Apart from the readers, because it serves all of them.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::Interaction;
use super::dataset::Rows;
use super::error::CaptureError;
use super::tabular::COLUMNS;

/// What rows are written as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// A header and a line for each row, with all fields of an event as columns.
    Csv,
    /// An event's JSON a line.
    Ndjson,
}

/// Writes rows to a file, which appears only once it is whole; returns how many.
///
/// # Errors
/// If a row cannot be read or the file not be written; then a file that was there before is as it was.
pub fn to_file(rows: Rows, format: Format, path: &Path) -> Result<u64, CaptureError> {
    let mut file = file_beside(path).map_err(CaptureError::write(path))?;
    let written = write(rows, format, file.as_file_mut(), path)?;
    file.as_file().sync_all().map_err(CaptureError::write(path))?;
    file.persist(path).map_err(|error| CaptureError::write(path)(error.error))?;
    Ok(written)
}

/// A file beside `path`, to be given that name once it is whole.
pub(crate) fn file_beside(path: &Path) -> std::io::Result<NamedTempFile> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // Temporary files are their owner's only; this one becomes a file like any other, as the umask wants it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(parent)
}

/// Writes rows to standard output; returns how many. A reader that has had enough (`| head`) ends it without an error.
///
/// # Errors
/// If a row cannot be read, or standard output not be written for another reason.
pub fn to_stdout(rows: Rows, format: Format) -> Result<u64, CaptureError> {
    match write(rows, format, std::io::stdout().lock(), Path::new("stdout")) {
        Err(CaptureError::Write { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(0),
        written => written,
    }
}

/// Writes rows to anything; `path` names it in errors. Returns how many.
///
/// # Errors
/// If a row cannot be read or written.
pub fn write(rows: Rows, format: Format, out: impl Write, path: &Path) -> Result<u64, CaptureError> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let written = match format {
        Format::Csv => write_csv(rows, &mut out, path),
        Format::Ndjson => write_ndjson(rows, &mut out, path),
    }?;
    out.flush().map_err(CaptureError::write(path))?;
    Ok(written)
}

fn write_csv(rows: Rows, out: &mut impl Write, path: &Path) -> Result<u64, CaptureError> {
    let mut writer = csv::Writer::from_writer(out);
    let failed = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(source) => CaptureError::write(path)(source),
        other => CaptureError::write(path)(std::io::Error::other(format!("{other:?}"))),
    };
    writer.write_record(COLUMNS).map_err(failed)?;
    let mut written = 0;
    for row in rows {
        let Interaction { user, item, rating, count, ts, id, .. } = row?;
        let number = |number: Option<f32>| number.map(|number| number.to_string()).unwrap_or_default();
        let ts = ts.map(|ts| ts.to_string()).unwrap_or_default();
        let record = [user, item, number(rating), number(count), ts, id.unwrap_or_default()];
        writer.write_record(record).map_err(failed)?;
        written += 1;
    }
    writer.flush().map_err(CaptureError::write(path))?;
    Ok(written)
}

fn write_ndjson(rows: Rows, out: &mut impl Write, path: &Path) -> Result<u64, CaptureError> {
    let mut written = 0;
    for row in rows {
        let mut line = row?.to_json();
        line.push(b'\n');
        out.write_all(&line).map_err(CaptureError::write(path))?;
        written += 1;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::capture::tabular;

    fn rows(rows: Vec<Interaction>) -> Rows {
        Box::new(rows.into_iter().map(Ok))
    }

    fn written(given: &[Interaction], format: Format) -> Vec<u8> {
        let mut out = Vec::new();
        assert_eq!(write(rows(given.to_vec()), format, &mut out, Path::new("out")).unwrap(), given.len() as u64);
        out
    }

    prop_compose! {
        fn interaction()(
            user in "\\PC{1,8}", item in "[ -~\n\r\t\"',]{1,8}", rating in proptest::option::of(-1e9_f32..1e9),
            count in proptest::option::of(1e-9_f32..f32::MAX), ts in proptest::option::of(any::<i64>()),
            id in proptest::option::of("\\PC{1,8}"),
        ) -> Interaction {
            Interaction { user, item, rating, count, ts, id, ..Interaction::default() }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_equal(given in proptest::collection::vec(interaction(), 1..20)) {
            let path = Path::new("out");
            let csv = tabular::csv(path, Cursor::new(written(&given, Format::Csv))).unwrap();
            prop_assert_eq!(csv.rows.map(Result::unwrap).collect::<Vec<_>>(), given.clone());
            let ndjson = tabular::ndjson(path, Cursor::new(written(&given, Format::Ndjson)));
            prop_assert_eq!(ndjson.rows.map(Result::unwrap).collect::<Vec<_>>(), given);
        }
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        std::fs::write(&path, "before").unwrap();
        let broken = CaptureError::Empty { path: path.clone(), expected: "rows" };
        let row = Interaction { user: "1".into(), item: "2".into(), rating: Some(3.0), ..Interaction::default() };
        to_file(Box::new([Ok(row.clone()), Err(broken)].into_iter()), Format::Csv, &path).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

        assert_eq!(to_file(rows(vec![row]), Format::Csv, &path).unwrap(), 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "user,item,rating,count,ts,id\n1,2,3,,,\n");
    }
}
