//! Links that are encrypted and ask who is there: real servers set up so, and the program on them.

pub(crate) mod certificates;
mod kafka;
mod mongodb;

pub(crate) use kafka::{Secured as SecuredKafka, secured as secured_kafka};
pub(crate) use mongodb::{Secured as SecuredMongod, secured as secured_mongod};
