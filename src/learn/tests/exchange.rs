//! Several trainers that learn the same items: whatever they tell each other in whatever order, they come to the same rows.

use super::*;
use crate::decode::Contributions;
use crate::learn::exchange::Exchange;

const TRAINERS: usize = 3;
const MERGED: [(LearnerKind, LearnerKind); 3] = [
    (LearnerKind::BiasedMf, LearnerKind::Popularity),
    (LearnerKind::BiasedMf, LearnerKind::BiasedMf),
    (LearnerKind::Biases, LearnerKind::BiasedMf),
];

fn trainer(kinds: (LearnerKind, LearnerKind), shard: usize) -> Recommender {
    let mut config = config(kinds);
    (config.engine.shard, config.engine.shards) = (shard, TRAINERS);
    Recommender::new(&config).unwrap()
}

fn resumed(kinds: (LearnerKind, LearnerKind), shard: usize, state: LearnedState) -> Recommender {
    let mut config = config(kinds);
    (config.engine.shard, config.engine.shards) = (shard, TRAINERS);
    Recommender::resume(&config, state)
}

fn exchange(state: &LearnedState) -> &Exchange<Frozen> {
    state.exchange.as_ref().unwrap()
}

/// What a trainer has added since `before`, as it tells the others; its store is named after it.
fn told(state: &LearnedState, before: Option<&LearnedState>) -> Contributions {
    let own = exchange(state);
    let (items, rows): (Vec<_>, Vec<_>) = own.changed_since(before.map(exchange)).unzip();
    Contributions {
        shard: own.shard(),
        store: own.shard() as u64 + 1,
        number: own.number(),
        last: true,
        items: items.into_iter().map(|item| state.items.name(item).unwrap().clone()).collect(),
        rows: rows.concat(),
    }
}

fn hear(trainer: &mut Recommender, contributions: Vec<Contributions>) {
    trainer.learn(&MicroBatch { contributions, ..MicroBatch::default() }).unwrap();
}

fn share(trainer: &mut Recommender) {
    trainer.learn(&MicroBatch { shares: true, ..MicroBatch::default() }).unwrap();
}

/// The rows of every item, by its id.
fn rows(state: &LearnedState) -> BTreeMap<String, Vec<u32>> {
    let models = [Some(&*state.rating), state.ranking.as_deref()];
    let row = |item: u32| {
        let rows = models.into_iter().flatten().filter_map(move |model| model.item_rows()?.get(item));
        rows.flatten().copied().chain([exchange(state).liked(item)]).map(f32::to_bits).collect()
    };
    (0..state.items.len() as u32).map(|item| (state.items.name(item).unwrap().to_string(), row(item))).collect()
}

/// Everything, with what was exchanged.
fn all_bytes(state: &LearnedState) -> BTreeMap<String, Vec<u8>> {
    let mut all = bytes(state);
    for table in exchange(state).tables() {
        let content = table.stored().flat_map(|stored| stored.content()).collect();
        all.insert(table.name, content);
    }
    all
}

/// Three trainers with what each has told last, and each one's batches so far.
struct Cluster {
    kinds: (LearnerKind, LearnerKind),
    trainers: Vec<Recommender>,
    told: Vec<Option<LearnedState>>,
    /// What each has told and nobody may have heard: all of it, or what is new.
    on_the_way: Vec<(usize, Contributions)>,
    batches: Vec<Vec<MicroBatch>>,
}

impl Cluster {
    fn new(kinds: (LearnerKind, LearnerKind)) -> Self {
        Self {
            kinds,
            trainers: (0..TRAINERS).map(|shard| trainer(kinds, shard)).collect(),
            told: vec![None; TRAINERS],
            on_the_way: Vec::new(),
            batches: vec![Vec::new(); TRAINERS],
        }
    }

    fn learn(&mut self, shard: usize, batch: MicroBatch) {
        self.trainers[shard].learn(&batch).unwrap();
        self.batches[shard].push(batch);
    }

    /// Works out what a trainer has added, and tells the others.
    fn tell(&mut self, shard: usize) {
        self.learn(shard, MicroBatch { shares: true, ..MicroBatch::default() });
        let state = self.trainers[shard].publish();
        let told = told(&state, self.told[shard].as_ref());
        for other in (0..TRAINERS).filter(|other| *other != shard) {
            self.on_the_way.push((other, told.clone()));
        }
        self.told[shard] = Some(state);
    }

    /// Has trainers hear the first so many of what is on its way.
    fn hear(&mut self, count: usize) {
        for (shard, told) in self.on_the_way.drain(..count.min(self.on_the_way.len())).collect::<Vec<_>>() {
            self.learn(shard, MicroBatch { contributions: vec![told], ..MicroBatch::default() });
        }
    }
}

proptest! {
    #[test]
    fn trainers_that_have_heard_all_have_the_same_rows_and_each_can_be_learned_again(
        kinds in prop::sample::select(&MERGED[..]), stream in stream(),
        steps in proptest::collection::vec((0..8_usize, 1..40_usize), 1..40),
    ) {
        let mut cluster = Cluster::new(kinds);
        let mut rest = stream.as_slice();
        for (step, size) in steps {
            match step {
                0..3 => cluster.tell(step),
                3 => cluster.hear(size),
                4 => {
                    let state = cluster.trainers[size % TRAINERS].publish();
                    cluster.trainers[size % TRAINERS] = resumed(kinds, size % TRAINERS, state);
                }
                _ => {
                    let (now, later) = rest.split_at(size.min(rest.len()));
                    rest = later;
                    for shard in 0..TRAINERS {
                        let own: Vec<_> = now.iter().copied().filter(|event| event.0 as usize % TRAINERS == shard).collect();
                        cluster.learn(shard, batch(&own));
                    }
                }
            }
        }
        (0..TRAINERS).for_each(|shard| cluster.tell(shard));
        cluster.hear(usize::MAX);
        let states: Vec<LearnedState> = cluster.trainers.iter_mut().map(Recommender::publish).collect();
        for shard in 0..TRAINERS {
            prop_assert_eq!(rows(&states[shard]), rows(&states[0]));
            let mut again = trainer(cluster.kinds, shard);
            for batch in &cluster.batches[shard] {
                again.learn(batch).unwrap();
            }
            prop_assert_eq!(all_bytes(&again.publish()), all_bytes(&states[shard]));
        }
    }
}

#[test]
fn what_is_told_again_or_only_as_the_newest_changes_nothing() {
    let kinds = MERGED[0];
    let (mut one, mut other, mut late) = (trainer(kinds, 0), trainer(kinds, 1), trainer(kinds, 1));
    let mut before = None;
    for events in [[(1, 1, 5.0), (2, 2, 1.0)], [(1, 2, 3.0), (3, 1, 4.0)], [(2, 3, 2.0), (1, 3, 4.0)]] {
        one.learn(&batch(&events)).unwrap();
        share(&mut one);
        let state = one.publish();
        let new = told(&state, before.as_ref());
        hear(&mut other, vec![new.clone(), new]);
        before = Some(state);
    }
    let state = one.publish();
    hear(&mut late, vec![told(&state, None)]);
    assert_eq!(rows(&other.publish()), rows(&late.publish()));
    assert_eq!(rows(&other.publish()), rows(&state));
    assert_eq!(exchange(&other.publish()).heard()[0].number, 3);
}

#[test]
fn a_trainer_that_begins_anew_takes_nothing_twice() {
    let kinds = MERGED[0];
    let events = [(1, 1, 5.0), (2, 2, 1.0), (3, 1, 4.0)];
    let (mut one, mut other) = (trainer(kinds, 0), trainer(kinds, 1));
    one.learn(&batch(&events)).unwrap();
    share(&mut one);
    hear(&mut other, vec![told(&one.publish(), None)]);
    let heard_once = rows(&other.publish());
    // Its store was emptied: it learns the same events again, under another name.
    let again = Contributions { store: 77, ..told(&one.publish(), None) };
    hear(&mut other, vec![again]);
    assert_eq!(rows(&other.publish()), heard_once);
    let only_one =
        Contributions { store: 78, items: vec!["i9".into()], rows: vec![1.0; 14], ..told(&one.publish(), None) };
    hear(&mut other, vec![only_one]);
    let rows = rows(&other.publish());
    assert!(rows["i1"].iter().all(|bits| f32::from_bits(*bits) == 0.0), "what it had added is taken out");
    assert_eq!(rows["i9"], vec![1.0_f32.to_bits(); 14]);
}

#[test]
fn what_does_not_fit_is_passed_over() {
    let mut one = trainer(MERGED[0], 0);
    one.learn(&batch(&[(1, 1, 5.0)])).unwrap();
    let before = rows(&one.publish());
    let of = |shard, width: usize| Contributions {
        shard,
        items: vec!["i1".into()],
        rows: vec![1.0; width],
        last: true,
        ..Contributions::default()
    };
    hear(&mut one, vec![of(0, 14), of(3, 14), of(1, 13)]);
    assert_eq!(rows(&one.publish()), before);
}
