//! Deletes snapshots that are not kept, and blocks that none names, in one transaction.
//!
//! Apart from the other writes, because nothing else deletes. The transaction is immediate: whoever stores a snapshot
//! does so before it, and is seen, or after it, and finds the blocks that are missing.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{File, Sql, rows};
use crate::fault::{self, Point};
use crate::store::garbage::Choice;
use crate::store::{Hash, Pruned, Retention, StoreError, rules};

/// What is deleted.
struct Plan {
    pruned: Pruned,
    blocks: Vec<Hash>,
}

impl File {
    pub(super) fn prune(&self, epoch: Option<u64>, keep: Retention, dry_run: bool) -> Result<Pruned, StoreError> {
        if dry_run {
            return self.read("look for old snapshots", |connection| {
                // One transaction, so that the blocks are those of the snapshots.
                Ok(self.plan(&*connection.unchecked_transaction()?, keep)?.pruned)
            });
        }
        self.write("delete old snapshots", |transaction| {
            if let Some(epoch) = epoch {
                rules::check_epoch(&self.location, rows::engine(transaction)?.epoch, epoch)?;
            }
            let plan = self.plan(transaction, keep)?;
            for seq in &plan.pruned.snapshots {
                rows::delete_manifest(transaction, *seq)?;
            }
            fault::pass(Point::ManifestsPruned);
            for hash in &plan.blocks {
                rows::delete_block(transaction, *hash)?;
            }
            Ok(plan.pruned)
        })
    }

    fn plan(&self, connection: &Connection, keep: Retention) -> Sql<Plan> {
        let listed = rows::listed(connection)?;
        let choice = Choice::of(&listed, keep, rows::engine(connection)?.base);
        let mut pruned = choice.pruned();
        let mut found = BTreeMap::new();
        for hash in choice.index().unwrap_or_default() {
            found.extend(rows::block(connection, hash)?.map(|block| (hash, block)));
        }
        let dead = match choice.live(&self.location, &found) {
            Ok(live) => rows::dead_blocks(connection, &live)?,
            Err(reason) => {
                pruned.waiting = Some(reason);
                Vec::new()
            }
        };
        pruned.blocks = dead.len() as u64;
        pruned.bytes = dead.iter().map(|(_, size)| size).sum();
        Ok(Plan { pruned, blocks: dead.into_iter().map(|(hash, _)| hash).collect() })
    }
}
