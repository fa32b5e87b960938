//! Rows as the bytes of a format, page by page.
//!
//! Apart from where the bytes go: an encoder only fills memory, so that all that can fail on a disk or a pipe fails in one
//! place. It holds no more than one row group of a Parquet file.

use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::SchemaRef;
use clap::ValueEnum;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

use super::columns::Row;
use super::{batch, text};

/// Rows, and bytes before they are compressed, of a row group at most.
const GROUP_ROWS: usize = 128 << 10;
const GROUP_BYTES: usize = 32 << 20;

/// How rows are written.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// A JSON object a line.
    Ndjson,
    /// Columns in compressed row groups.
    Parquet,
    /// The IPC format of Arrow: of files in a file, of streams in a pipe.
    Arrow,
}

/// Makes bytes of rows.
pub(super) enum Encoder {
    Table,
    Csv,
    Ndjson,
    Parquet(SchemaRef, Box<ArrowWriter<Vec<u8>>>),
    ArrowFile(SchemaRef, FileWriter<Vec<u8>>),
    ArrowStream(SchemaRef, StreamWriter<Vec<u8>>),
}

impl Encoder {
    /// An encoder for a whole file, or for what is read while it is written; with the bytes that come before the first row.
    pub(super) fn new<T: Row>(format: Format, streamed: bool) -> anyhow::Result<(Self, Vec<u8>)> {
        let schema = batch::schema::<T>();
        let mut encoder = match format {
            Format::Csv => return Ok((Self::Csv, text::csv_header::<T>()?)),
            Format::Ndjson => Self::Ndjson,
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
                    .set_max_row_group_row_count(Some(GROUP_ROWS))
                    .set_max_row_group_bytes(Some(GROUP_BYTES))
                    .build();
                let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
                Self::Parquet(schema, Box::new(writer))
            }
            Format::Arrow if streamed => {
                let writer = StreamWriter::try_new(Vec::new(), &schema)?;
                Self::ArrowStream(schema, writer)
            }
            Format::Arrow => {
                let writer = FileWriter::try_new(Vec::new(), &schema)?;
                Self::ArrowFile(schema, writer)
            }
        };
        let head = encoder.made();
        Ok((encoder, head))
    }

    /// An encoder for people, likewise.
    pub(super) fn table<T: Row>() -> (Self, Vec<u8>) {
        (Self::Table, text::table_header::<T>())
    }

    /// The bytes of some rows; those of a Parquet file come when a row group is full.
    pub(super) fn encode<T: Row>(&mut self, rows: &[T]) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Table => return Ok(text::table(rows)),
            Self::Csv => return text::csv(rows),
            Self::Ndjson => return text::ndjson(rows),
            Self::Parquet(schema, writer) => writer.write(&batch::of(rows, schema)?)?,
            Self::ArrowFile(schema, writer) => writer.write(&batch::of(rows, schema)?)?,
            Self::ArrowStream(schema, writer) => writer.write(&batch::of(rows, schema)?)?,
        }
        Ok(self.made())
    }

    /// The bytes behind the last row.
    pub(super) fn finish(&mut self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Table | Self::Csv | Self::Ndjson => {}
            Self::Parquet(_, writer) => drop(writer.finish()?),
            Self::ArrowFile(_, writer) => writer.finish()?,
            Self::ArrowStream(_, writer) => writer.finish()?,
        }
        Ok(self.made())
    }

    /// Takes what a writer has written. Each of them counts its bytes itself, and never looks back.
    fn made(&mut self) -> Vec<u8> {
        match self {
            Self::Table | Self::Csv | Self::Ndjson => Vec::new(),
            Self::Parquet(_, writer) => std::mem::take(writer.inner_mut()),
            Self::ArrowFile(_, writer) => std::mem::take(writer.get_mut()),
            Self::ArrowStream(_, writer) => std::mem::take(writer.get_mut()),
        }
    }
}
