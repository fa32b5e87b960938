//! Writes the rows of any data set as CSV or NDJSON, which the readers here and other programs can read.
//!
//! Apart from the readers, because it serves all of them.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

use super::dataset::Rows;
use super::error::CaptureError;
use super::tabular::COLUMNS;
use super::Interaction;

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
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // Temporary files are their owner's only; this one becomes a file like any other, as the umask wants it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(parent).map_err(CaptureError::write(path))?;
    let written = write(rows, format, file.as_file_mut(), path)?;
    file.as_file().sync_all().map_err(CaptureError::write(path))?;
    file.persist(path).map_err(|error| CaptureError::write(path)(error.error))?;
    Ok(written)
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
        let Interaction { user, item, rating, count, ts, id } = row?;
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

