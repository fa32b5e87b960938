//! The catalogue as answers are made from it: titles by id, and bitmaps of the model's items to filter by.
//!
//! In: what the store has, whenever it changes, and what `PUT` and `DELETE` change. Out: [`Entries`] by id and an
//! [`Index`] by the model's dense item index. Readers take no lock unless the index has to follow; a change leaves what
//! they hold as it is.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use tokio::sync::MutexGuard;

use crate::capture::{Item, User};
use crate::learn::ids::IdTable;

/// The newest catalogue, which changes while it is read.
#[derive(Debug)]
pub struct Catalogue {
    entries: ArcSwap<Entries>,
    index: ArcSwap<Index>,
    indexing: Mutex<()>,
    changing: tokio::sync::Mutex<()>,
}

/// One state of the catalogue. Cloning it costs nothing, changing it what is changed.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// Items by id, in the order of ids.
    pub items: imbl::OrdMap<Arc<str>, Arc<Item>>,
    /// Users by id, in the order of ids.
    pub users: imbl::OrdMap<Arc<str>, Arc<User>>,
    generation: u64,
}

/// Bitmaps over the model's items, of one state of the catalogue.
///
/// Dense indexes are given once and for all, so that one index serves every view that has no more items than it covers.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// Items that no list may show.
    pub hidden: RoaringBitmap,
    /// Items by genre, in lower case.
    pub genres: Lists<Arc<str>>,
    /// Items by label, in lower case.
    pub labels: Lists<Arc<str>>,
    /// Items by year.
    pub years: Lists<i32>,
    known: imbl::Vector<Option<Arc<Item>>>,
    ids: IdTable,
    generation: u64,
}

/// Dense indexes of the items that have something.
pub type Lists<K> = imbl::OrdMap<K, Arc<RoaringBitmap>>;

impl Default for Catalogue {
    fn default() -> Self {
        // Not the same in any two processes: a tag that one of them gave must not match an answer of another's catalogue.
        let generation = RandomState::new().build_hasher().finish() >> 16;
        Self {
            entries: ArcSwap::from_pointee(Entries { generation, ..Entries::default() }),
            index: ArcSwap::default(),
            indexing: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        }
    }
}

impl Catalogue {
    /// The newest state.
    #[must_use]
    pub fn entries(&self) -> Arc<Entries> {
        self.entries.load_full()
    }

    /// Another number after each change, and in each process.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.entries.load().generation
    }

    /// The index of the newest state over at least these items, which are those of a view.
    #[must_use]
    pub fn index(&self, items: &IdTable) -> Arc<Index> {
        let (entries, index) = (self.entries.load(), self.index.load());
        if index.serves(&entries, items) {
            return Arc::clone(&index);
        }
        let _one_at_a_time = self.indexing.lock();
        let index = self.index.load();
        if index.serves(&entries, items) {
            return Arc::clone(&index);
        }
        // What is already there is taken over unless the catalogue has changed or the items are other ones: those of a
        // snapshot that another engine has made.
        let follows = index.generation == entries.generation && index.agrees_with(items);
        let mut next = if follows { Index::clone(&index) } else { Index::of(&entries) };
        next.extend(&entries, items);
        let next = Arc::new(next);
        self.index.store(Arc::clone(&next));
        next
    }

    /// Held by whoever changes the catalogue in the store and here: the order of changes is the same in both, and what is
    /// read from the store cannot undo a change that was made meanwhile.
    pub async fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Takes up what the store has.
    pub fn replace(&self, items: impl IntoIterator<Item = Item>, users: impl IntoIterator<Item = User>) {
        let before = self.entries.load();
        let items = items.into_iter().map(|item| (Arc::from(item.id.as_str()), Arc::new(item))).collect();
        let users = users.into_iter().map(|user| (Arc::from(user.id.as_str()), Arc::new(user))).collect();
        // A change of our own comes back from the store as well: then every index and kept answer is still right.
        if before.items != items || before.users != users {
            self.entries.store(Arc::new(Entries { items, users, generation: before.generation + 1 }));
        }
    }

    /// Adds or replaces an item.
    pub fn put_item(&self, item: Item) {
        let mut entries = Entries::clone(&self.entries.load());
        let before = entries.generation;
        entries.generation += 1;
        let item = Arc::new(item);
        entries.items.insert(item.id.as_str().into(), Arc::clone(&item));
        let _one_at_a_time = self.indexing.lock();
        let index = self.index.load();
        if index.generation == before {
            let mut index = Index::clone(&index);
            index.generation = entries.generation;
            if let Some(dense) = index.ids.get(&item.id).filter(|dense| (*dense as usize) < index.known.len()) {
                index.remove(dense);
                index.insert(dense, item);
            }
            self.index.store(Arc::new(index));
        }
        self.entries.store(Arc::new(entries));
    }

    /// Takes up what the log has said; labels and what is hidden stay as they are, as they do in the store.
    pub async fn tell(&self, items: Vec<Item>, users: Vec<User>) {
        if items.is_empty() && users.is_empty() {
            return;
        }
        let _changing = self.changing().await;
        for mut item in items {
            if let Some(before) = self.entries().items.get(item.id.as_str()) {
                (item.labels, item.hidden) = (before.labels.clone(), before.hidden);
            }
            self.put_item(item);
        }
        for mut user in users {
            if let Some(before) = self.entries().users.get(user.id.as_str()) {
                (user.labels, user.hidden) = (before.labels.clone(), before.hidden);
            }
            self.put_user(user);
        }
    }

    /// Adds or replaces a user.
    pub fn put_user(&self, user: User) {
        let mut entries = Entries::clone(&self.entries.load());
        entries.generation += 1;
        entries.users.insert(user.id.as_str().into(), Arc::new(user));
        self.entries.store(Arc::new(entries));
    }
}

impl Index {
    /// Of this state, over no items yet.
    fn of(entries: &Entries) -> Self {
        Self { generation: entries.generation, ..Self::default() }
    }

    /// What the catalogue has of the item at a dense index.
    #[must_use]
    pub fn item(&self, dense: u32) -> Option<&Item> {
        self.known.get(dense as usize)?.as_deref()
    }

    /// Number of items that it covers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether it covers no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn serves(&self, entries: &Entries, items: &IdTable) -> bool {
        self.generation == entries.generation && self.len() >= items.len() && self.agrees_with(items)
    }

    /// Whether one of the two tables begins as the other: as long as ids are only added, it is told by the last one.
    fn agrees_with(&self, items: &IdTable) -> bool {
        match self.len().min(items.len()).checked_sub(1) {
            Some(last) => self.ids.name(last as u32) == items.name(last as u32),
            None => true,
        }
    }

    fn extend(&mut self, entries: &Entries, items: &IdTable) {
        for dense in self.len() as u32..items.len() as u32 {
            self.known.push_back(None);
            let known = items.name(dense).and_then(|id| entries.items.get(id));
            if let Some(item) = known {
                self.insert(dense, Arc::clone(item));
            }
        }
        self.ids = items.clone();
    }

    fn insert(&mut self, dense: u32, item: Arc<Item>) {
        if item.hidden {
            self.hidden.insert(dense);
        }
        for (lists, names) in [(&mut self.genres, &item.genres), (&mut self.labels, &item.labels)] {
            for name in names {
                Arc::make_mut(lists.entry(name.to_lowercase().into()).or_default()).insert(dense);
            }
        }
        if let Some(year) = item.year {
            Arc::make_mut(self.years.entry(year).or_default()).insert(dense);
        }
        self.known.set(dense as usize, Some(item));
    }

    fn remove(&mut self, dense: u32) {
        let Some(item) = self.known.set(dense as usize, None) else { return };
        self.hidden.remove(dense);
        for (lists, names) in [(&mut self.genres, &item.genres), (&mut self.labels, &item.labels)] {
            for name in names {
                take_out(lists, &name.to_lowercase().into(), dense);
            }
        }
        if let Some(year) = item.year {
            take_out(&mut self.years, &year, dense);
        }
    }
}

/// Takes an item out of one list; a list that nothing is in is none.
fn take_out<K: Ord + Clone>(lists: &mut Lists<K>, key: &K, dense: u32) {
    if let Some(list) = lists.get_mut(key) {
        Arc::make_mut(list).remove(dense);
        if list.is_empty() {
            lists.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of a model that has met these items in this order.
    fn table(ids: &[&str]) -> IdTable {
        let names: Vec<Arc<str>> = ids.iter().map(|id| (*id).into()).collect();
        let mut blocks = crate::learn::blocks::Blocks::default();
        blocks.push(names);
        IdTable::from_names(blocks.publish())
    }

    fn item(id: &str, genres: &[&str], year: i32) -> Item {
        let genres = genres.iter().map(ToString::to_string).collect();
        Item { id: id.into(), title: format!("Title of {id}"), genres, year: Some(year), ..Item::default() }
    }

    fn list<K: Ord + Clone>(lists: &Lists<K>, key: &K) -> Vec<u32> {
        lists.get(key).map(|list| list.iter().collect()).unwrap_or_default()
    }

    #[test]
    fn the_index_grows_with_the_model_and_follows_each_change() {
        let catalogue = Catalogue::default();
        catalogue.replace([item("a", &["Crime", "Drama"], 1995), item("b", &["crime"], 1996), item("z", &[], 1)], []);
        let index = catalogue.index(&table(&["b", "?"]));
        assert_eq!((index.len(), list(&index.genres, &"crime".into())), (2, vec![0]));
        let items = table(&["b", "?", "a"]);
        let index = catalogue.index(&items);
        assert_eq!(list(&index.genres, &"crime".into()), [0, 2]);
        assert_eq!((list(&index.years, &1995), index.item(2).unwrap().title.as_str()), (vec![2], "Title of a"));
        assert!(index.item(1).is_none() && index.item(3).is_none() && index.hidden.is_empty());
        assert!(Arc::ptr_eq(&catalogue.index(&table(&["b"])), &index), "it serves an older view as well");

        let before = catalogue.generation();
        let labels = vec!["Staff Pick".to_owned()];
        catalogue.put_item(Item { hidden: true, labels, ..item("a", &["Drama"], 1995) });
        assert_ne!(catalogue.generation(), before);
        let patched = catalogue.index(&items);
        assert_eq!(
            (list(&patched.genres, &"crime".into()), list(&patched.genres, &"drama".into())),
            (vec![0], vec![2])
        );
        assert_eq!((list(&patched.labels, &"staff pick".into()), patched.hidden.contains(2)), (vec![2], true));
        let (entries, patched_as) = (catalogue.entries(), catalogue.generation());
        let stored = || entries.items.values().map(|item| Item::clone(item));
        catalogue.replace(stored(), []);
        assert_eq!(catalogue.generation(), patched_as, "what comes back from the store is no change");
        catalogue.replace(stored().take(1), []);
        let rebuilt = catalogue.index(&items);
        assert_eq!((rebuilt.genres.len(), list(&rebuilt.labels, &"staff pick".into())), (1, vec![2]));
    }

    #[test]
    fn the_items_of_another_engine_have_an_index_of_their_own() {
        let catalogue = Catalogue::default();
        catalogue.replace([item("a", &[], 1995), item("b", &[], 1996)], []);
        for ids in [["a", "b"], ["b", "a"]] {
            let index = catalogue.index(&table(&ids));
            assert_eq!([0, 1].map(|dense| index.item(dense).unwrap().id.clone()), ids);
        }
    }
}
