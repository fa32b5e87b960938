//! Rows as the columns of Arrow, which Parquet is written from too.

use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BinaryBuilder, BooleanBuilder, Float32Builder, Int64Builder, ListBuilder, StringBuilder,
    TimestampMillisecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

use super::columns::{Column, Kind, Row, Value};

/// Names and types of the columns. Any value may be missing.
pub(super) fn schema<T: Row>() -> SchemaRef {
    let fields: Vec<Field> = T::COLUMNS.iter().map(|column| Field::new(column.name, kind(column.kind), true)).collect();
    Arc::new(Schema::new(fields))
}

fn kind(kind: Kind) -> DataType {
    match kind {
        Kind::Integer => DataType::Int64,
        Kind::Number => DataType::Float32,
        Kind::Text => DataType::Utf8,
        Kind::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        Kind::Texts => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        Kind::Flag => DataType::Boolean,
        Kind::Bytes => DataType::Binary,
    }
}

/// Rows as columns.
pub(super) fn of<T: Row>(rows: &[T], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = T::COLUMNS.iter().map(|column| array(column, rows)).collect();
    RecordBatch::try_new(Arc::clone(schema), columns)
}

fn array<T: Row>(column: &Column<T>, rows: &[T]) -> ArrayRef {
    let values = rows.iter().map(|row| (column.value)(row));
    match column.kind {
        Kind::Integer => filled(Int64Builder::new(), values, |builder, value| {
            builder.append_option(if let Value::Integer(value) = value { Some(value) } else { None });
        }),
        Kind::Number => filled(Float32Builder::new(), values, |builder, value| {
            builder.append_option(if let Value::Number(value) = value { Some(value) } else { None });
        }),
        Kind::Text => filled(StringBuilder::new(), values, |builder, value| {
            builder.append_option(if let Value::Text(value) = value { Some(value) } else { None });
        }),
        Kind::Time => filled(TimestampMillisecondBuilder::new().with_timezone("UTC"), values, |builder, value| {
            builder.append_option(if let Value::Time(value) = value { Some(value) } else { None });
        }),
        Kind::Texts => filled(ListBuilder::new(StringBuilder::new()), values, |builder, value| match value {
            Value::Texts(texts) => builder.append_value(texts.iter().map(Some)),
            _ => builder.append_null(),
        }),
        Kind::Flag => filled(BooleanBuilder::new(), values, |builder, value| {
            builder.append_option(if let Value::Flag(value) = value { Some(value) } else { None });
        }),
        Kind::Bytes => filled(BinaryBuilder::new(), values, |builder, value| {
            builder.append_option(if let Value::Bytes(value) = value { Some(value) } else { None });
        }),
    }
}

fn filled<'a, B: ArrayBuilder>(
    mut builder: B,
    values: impl Iterator<Item = Value<'a>>,
    append: impl Fn(&mut B, Value<'a>),
) -> ArrayRef {
    values.for_each(|value| append(&mut builder, value));
    builder.finish()
}
