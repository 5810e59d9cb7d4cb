//! The keys of persons, one for each of them: what is written about a person is sealed by it in the book. They lie in a table
//! beside the book, wrapped by the master key, and are fetched for a portion of events at once.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{Engine, prelude::BASE64_STANDARD};
use lru::LruCache;
use sqlx::PgPool;
use ulid::Ulid;

use super::{
    MasterKey, RawEvent, StoreError, Upcasters,
    aead::{Secret, random},
};
use crate::{
    domain::{DecodeError, Event},
    terms::sealed::{Closed, Sealed},
};

/// Keys that are kept in memory, of about 200 bytes each.
const KEPT: NonZeroUsize = NonZeroUsize::new(50_000).expect("it is not zero");

/// The key of one person.
#[derive(Clone)]
pub struct PersonKey {
    id: Box<str>,
    secret: Secret,
}

/// What became of a key.
#[derive(Clone, Debug)]
enum Found {
    Key(Arc<PersonKey>),
    /// It was destroyed, and with it what it sealed.
    Erased,
    /// It is not what the master key has wrapped.
    Broken,
}

/// The keys of the persons of a ledger. They are asked for on a connection of their own: who needs one may hold any other.
#[derive(Clone, Debug)]
pub struct Keys(Arc<Shared>);

struct Shared {
    pool: PgPool,
    master: Option<MasterKey>,
    /// Whether the ledger is known to have this master key and no other.
    claimed: AtomicBool,
    /// By their ids.
    found: Mutex<LruCache<Box<str>, Found>>,
    /// Those that seal now, by the persons.
    current: Mutex<LruCache<Box<str>, Arc<PersonKey>>>,
}

/// What brings a portion of stored events to what the domain and the folds read: the upcasters, and the keys of their texts.
#[derive(Clone, Debug)]
pub struct Opener {
    upcasters: Upcasters,
    keys: Arc<HashMap<Box<str>, Found>>,
    /// There is no master key.
    locked: bool,
}

impl PersonKey {
    /// A new one.
    pub fn generate() -> Self {
        let id = format!("key_{}", Ulid::from_bytes(random())).into();
        Self { id, secret: Secret::generate() }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals the texts of an event that are plain still.
    pub fn seal(&self, event: &mut Event) {
        let event_type = event.event_type();
        for (place, text) in event.sealed() {
            if let Sealed::Plain(plain) = text
                && !plain.is_empty()
            {
                let sealed = self.secret.seal(&self.bound(&event_type, place), plain.as_bytes());
                *text = Sealed::Closed(Closed { key: self.id.to_string(), text: BASE64_STANDARD.encode(sealed) });
            }
        }
    }

    fn open(&self, event_type: &str, place: &str, closed: &Closed) -> Option<String> {
        let sealed = BASE64_STANDARD.decode(&closed.text).ok()?;
        String::from_utf8(self.secret.open(&self.bound(event_type, place), &sealed)?).ok()
    }

    /// What a text is bound to: moved to another place of its event, or to one of another type, it is not opened.
    fn bound(&self, event_type: &str, place: &str) -> String {
        format!("daybook text\n{}\n{event_type}\n{place}", self.id)
    }

    fn wrapped(&self, person: &str, master: &MasterKey) -> Vec<u8> {
        master.secret().seal(&wrapped_for(&self.id, person, master), self.secret.bytes())
    }

    fn unwrapped(id: &str, person: &str, wrapped: &[u8], master: &MasterKey) -> Option<Self> {
        let bytes = master.secret().open(&wrapped_for(id, person, master), wrapped)?;
        Some(Self { id: id.into(), secret: Secret::of(bytes.try_into().ok()?) })
    }
}

fn wrapped_for(id: &str, person: &str, master: &MasterKey) -> String {
    format!("daybook person key\n{id}\n{person}\n{}", master.id())
}

impl Keys {
    pub(super) fn new(pool: PgPool, master: Option<MasterKey>) -> Self {
        let (found, current) = (Mutex::new(bounded()), Mutex::new(bounded()));
        Self(Arc::new(Shared { pool, master, claimed: AtomicBool::new(false), found, current }))
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    /// Whether there is a master key, without which no text is sealed or opened.
    pub fn are_unlocked(&self) -> bool {
        self.0.master.is_some()
    }

    /// The id of the master key that the keys of this ledger are wrapped by; `None` before the first text is sealed.
    pub async fn master_key_in_use(&self) -> Result<Option<String>, StoreError> {
        // A ledger that is only read may have the tables of an earlier version.
        let there: bool =
            sqlx::query_scalar("select to_regclass('master_key') is not null").fetch_one(self.pool()).await?;
        if !there {
            return Ok(None);
        }
        Ok(sqlx::query_scalar("select id from master_key").fetch_optional(self.pool()).await?)
    }

    /// The key by which the texts about a person are sealed, if it is in memory.
    pub fn current(&self, person: &str) -> Option<Arc<PersonKey>> {
        lock(&self.0.current).get(person).cloned()
    }

    /// Brings the keys of these persons into memory. Those who have none get one. It is durable before anything is sealed by
    /// it: one that no event names does no harm.
    pub async fn provide(&self, persons: impl IntoIterator<Item = Box<str>>) -> Result<(), StoreError> {
        let master = self.0.master.as_ref().ok_or(StoreError::NoMasterKey)?;
        // In one order, so that two processes do not wait for each other.
        let mut wanted: BTreeSet<Box<str>> = persons.into_iter().collect();
        wanted.retain(|person| self.current(person).is_none());
        self.claim(master).await?;
        while !wanted.is_empty() {
            self.fetch_current(master, &mut wanted).await?;
            if !wanted.is_empty() {
                self.make(master, &mut wanted).await?;
            }
        }
        Ok(())
    }

    /// Forgets by which keys is sealed: the book may be another one than before, such as one that was restored, and lack some.
    pub fn forget(&self) {
        lock(&self.0.current).clear();
        self.0.claimed.store(false, Ordering::Relaxed);
    }

    /// What opens these events.
    pub async fn opener<'a>(
        &self,
        upcasters: &Upcasters,
        events: impl IntoIterator<Item = &'a RawEvent>,
    ) -> Result<Opener, StoreError> {
        let mut wanted: BTreeSet<&str> = events.into_iter().flat_map(|raw| named_keys(&raw.payload)).collect();
        let mut keys = HashMap::new();
        if let Some(master) = &self.0.master
            && !wanted.is_empty()
        {
            {
                let mut known = lock(&self.0.found);
                wanted.retain(|id| match known.get(*id) {
                    Some(found) => {
                        keys.insert(Box::from(*id), found.clone());
                        false
                    }
                    None => true,
                });
            }
            if !wanted.is_empty() {
                keys.extend(self.fetch(master, &wanted.into_iter().collect::<Vec<_>>()).await?);
            }
        }
        Ok(Opener { upcasters: upcasters.clone(), keys: Arc::new(keys), locked: !self.are_unlocked() })
    }

    async fn fetch(&self, master: &MasterKey, ids: &[&str]) -> Result<Vec<(Box<str>, Found)>, StoreError> {
        let rows: Vec<(String, String, Option<Vec<u8>>)> =
            sqlx::query_as("select id, person, wrapped from person_keys where id = any($1)")
                .bind(ids)
                .fetch_all(self.pool())
                .await?;
        let found = rows.into_iter().map(|(id, person, wrapped)| {
            let found = match wrapped.map(|wrapped| PersonKey::unwrapped(&id, &person, &wrapped, master)) {
                None => Found::Erased,
                Some(None) => Found::Broken,
                Some(Some(key)) => Found::Key(Arc::new(key)),
            };
            (id.into_boxed_str(), found)
        });
        let found: Vec<(Box<str>, Found)> = found.collect();
        let mut known = lock(&self.0.found);
        for (id, found) in &found {
            known.put(id.clone(), found.clone());
        }
        Ok(found)
    }

    /// Takes out of `wanted` those persons who have a key.
    async fn fetch_current(&self, master: &MasterKey, wanted: &mut BTreeSet<Box<str>>) -> Result<(), StoreError> {
        let persons: Vec<&str> = wanted.iter().map(|person| &**person).collect();
        let rows: Vec<(String, String, Vec<u8>)> =
            sqlx::query_as("select id, person, wrapped from person_keys where person = any($1) and erased_at is null")
                .bind(persons)
                .fetch_all(self.pool())
                .await?;
        for (id, person, wrapped) in rows {
            let key = PersonKey::unwrapped(&id, &person, &wrapped, master).ok_or(StoreError::KeyBroken { id })?;
            wanted.remove(&*person);
            self.keep(person.into(), key);
        }
        Ok(())
    }

    /// Makes keys for these persons, and takes those out of `wanted` who have not got one meanwhile.
    async fn make(&self, master: &MasterKey, wanted: &mut BTreeSet<Box<str>>) -> Result<(), StoreError> {
        let mut made: HashMap<Box<str>, PersonKey> =
            wanted.iter().map(|person| (person.clone(), PersonKey::generate())).collect();
        let (mut ids, mut persons, mut wrapped) = (Vec::new(), Vec::new(), Vec::new());
        for person in wanted.iter() {
            let key = &made[person];
            ids.push(key.id());
            persons.push(&**person);
            wrapped.push(key.wrapped(person, master));
        }
        let stored: Vec<String> = sqlx::query_scalar(
            "insert into person_keys (id, person, wrapped, master_key)
             select new.id, new.person, new.wrapped, $4
             from unnest($1::text[], $2::text[], $3::bytea[]) as new (id, person, wrapped)
             on conflict do nothing
             returning person",
        )
        .bind(ids)
        .bind(persons)
        .bind(wrapped)
        .bind(master.id())
        .fetch_all(self.pool())
        .await?;
        for person in stored {
            wanted.remove(&*person);
            if let Some(key) = made.remove(&*person) {
                self.keep(person.into(), key);
            }
        }
        Ok(())
    }

    fn keep(&self, person: Box<str>, key: PersonKey) {
        let key = Arc::new(key);
        lock(&self.0.found).put(key.id.clone(), Found::Key(Arc::clone(&key)));
        lock(&self.0.current).put(person, key);
    }

    /// Makes this the master key of the ledger, unless it has another one.
    async fn claim(&self, master: &MasterKey) -> Result<(), StoreError> {
        if self.0.claimed.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.master_key_in_use().await?.is_none() {
            sqlx::query("insert into master_key (id) values ($1) on conflict do nothing")
                .bind(master.id())
                .execute(self.pool())
                .await?;
        }
        self.accept(master).await?;
        self.0.claimed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Refuses a master key that is not the one that the keys of this ledger are wrapped by.
    pub(super) async fn accept(&self, master: &MasterKey) -> Result<(), StoreError> {
        match self.master_key_in_use().await? {
            Some(expected) if expected != master.id() => {
                Err(StoreError::OtherMasterKey { found: master.id().into(), expected })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonKey({})", self.id)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("master", &self.master).finish_non_exhaustive()
    }
}

impl Opener {
    pub fn upcasters(&self) -> &Upcasters {
        &self.upcasters
    }

    /// Whether there is no master key, so that it opens nothing.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Opens the texts of an event, which was stored under this type.
    pub(crate) fn open(&self, event_type: &str, event: &mut Event) -> Result<(), DecodeError> {
        for (place, text) in event.sealed() {
            let Sealed::Closed(closed) = text else { continue };
            let altered = || DecodeError::TextAltered { place, key: closed.key.clone() };
            *text = match self.keys.get(&*closed.key) {
                None if self.locked => return Err(DecodeError::NoMasterKey),
                None => return Err(DecodeError::KeyMissing(closed.key.clone())),
                Some(Found::Broken) => return Err(altered()),
                Some(Found::Erased) => Sealed::Erased,
                Some(Found::Key(key)) => Sealed::Plain(key.open(event_type, place, closed).ok_or_else(altered)?),
            };
        }
        Ok(())
    }

    /// One that has this key alone.
    #[cfg(debug_assertions)]
    pub(crate) fn by(key: &Arc<PersonKey>) -> Self {
        let keys = HashMap::from([(key.id.clone(), Found::Key(Arc::clone(key)))]);
        Self { upcasters: Upcasters::new(Vec::new()), keys: Arc::new(keys), locked: false }
    }
}

/// A cache that takes no memory for what is not in it.
fn bounded<V>() -> LruCache<Box<str>, V> {
    let mut cache = LruCache::unbounded();
    cache.resize(KEPT);
    cache
}

/// The ids of the keys that a payload names.
fn named_keys(payload: &str) -> impl Iterator<Item = &str> {
    // A quotation mark within a text is escaped, so that this is the name of a field, or a whole text without a colon after it.
    payload.split(r#""sealed""#).skip(1).filter_map(|rest| {
        let id = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
        id.split('"').next()
    })
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done with the lock can leave half of itself behind.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CustomerEvent, TicketEvent, customer::Registration, ticket::TicketOpening};

    fn registered(name: &str, email: &str) -> Event {
        CustomerEvent::Registered(Registration { name: name.into(), email: Some(email.into()) }).into()
    }

    fn sealed(mut event: Event, key: &PersonKey) -> Event {
        key.seal(&mut event);
        event
    }

    fn opened(mut event: Event, opener: &Opener) -> Result<Event, DecodeError> {
        opener.open(&event.event_type(), &mut event)?;
        Ok(event)
    }

    fn erased() -> Opener {
        let keys = Arc::new(HashMap::from([("key_1".into(), Found::Erased)]));
        Opener { upcasters: Upcasters::default(), keys, locked: false }
    }

    #[test]
    fn what_a_key_seals_it_opens_and_no_text_stands_in_between() {
        let key = Arc::new(PersonKey::generate());
        let event = registered("Ada Lovelace", "ada@example.org");
        let stored = sealed(event.clone(), &key).payload();
        assert!(!stored.contains("Ada") && !stored.contains("example"), "{stored}");
        let read = Event::decode("customer", &stored).expect("an event");
        assert_eq!(opened(read, &Opener::by(&key)).expect("texts"), event);
        assert_eq!(named_keys(&stored).collect::<Vec<_>>(), [key.id(), key.id()]);
    }

    #[test]
    fn a_text_is_opened_in_its_own_place_only() {
        let key = Arc::new(PersonKey::generate());
        let Event::Customer(CustomerEvent::Registered(stored)) = sealed(registered("Ada", "a@b"), &key) else {
            unreachable!()
        };
        let swapped = Registration { name: stored.email.clone().expect("an address"), email: Some(stored.name) };
        let read = opened(CustomerEvent::Registered(swapped).into(), &Opener::by(&key));
        assert!(matches!(read, Err(DecodeError::TextAltered { place: "name", .. })), "{read:?}");

        let answered = sealed(TicketEvent::Answered { message: "yes".into() }.into(), &key);
        let Event::Ticket(TicketEvent::Answered { message }) = answered else { unreachable!() };
        let read = opened(TicketEvent::Replied { message }.into(), &Opener::by(&key));
        assert!(matches!(read, Err(DecodeError::TextAltered { place: "message", .. })), "{read:?}");
    }

    #[test]
    fn without_a_key_a_text_says_what_is_missing() {
        let event = sealed(registered("Ada", "a@b"), &PersonKey::generate());
        let no_key = Opener { upcasters: Upcasters::default(), keys: Arc::default(), locked: false };
        assert!(matches!(opened(event.clone(), &no_key), Err(DecodeError::KeyMissing(_))));
        let locked = Opener { locked: true, ..no_key };
        assert!(matches!(opened(event, &locked), Err(DecodeError::NoMasterKey)));
        // What is plain needs none.
        assert!(opened(registered("Ada", "a@b"), &locked).is_ok());
    }

    #[test]
    fn a_text_whose_key_was_destroyed_is_erased() {
        let key = PersonKey { id: "key_1".into(), ..PersonKey::generate() };
        let read = opened(sealed(TicketEvent::Answered { message: "yes".into() }.into(), &key), &erased());
        assert_eq!(read.expect("an event"), TicketEvent::Answered { message: Sealed::Erased }.into());
    }

    #[test]
    fn an_empty_text_needs_no_key() {
        let event: Event = TicketEvent::Answered { message: "".into() }.into();
        assert_eq!(sealed(event.clone(), &PersonKey::generate()), event);
    }

    #[test]
    fn a_text_names_no_key() {
        let text = r#"{"sealed":"key_1"}"#;
        let opening = TicketOpening {
            customer: "cus_1".parse().expect("a customer"),
            category: "sealed".into(),
            subject: text.into(),
            about: None,
            message: r#"\"sealed":"key_2""#.into(),
        };
        let payload = Event::from(TicketEvent::Opened(opening)).payload();
        assert_eq!(named_keys(&payload).count(), 0, "{payload}");
        let spaced = r#"{ "answered": { "message": { "sealed" : "key_3", "text": "" } } }"#;
        assert_eq!(named_keys(spaced).collect::<Vec<_>>(), ["key_3"]);
    }

    #[test]
    fn a_key_is_unwrapped_for_its_person_by_its_master_key_only() {
        let (key, master) = (PersonKey::generate(), MasterKey::generate());
        let wrapped = key.wrapped("cus_1", &master);
        let bytes = |key: Option<PersonKey>| key.map(|key| *key.secret.bytes());
        assert_eq!(bytes(PersonKey::unwrapped(key.id(), "cus_1", &wrapped, &master)), Some(*key.secret.bytes()));
        assert_eq!(bytes(PersonKey::unwrapped(key.id(), "cus_2", &wrapped, &master)), None);
        assert_eq!(bytes(PersonKey::unwrapped("key_1", "cus_1", &wrapped, &master)), None);
        assert_eq!(bytes(PersonKey::unwrapped(key.id(), "cus_1", &wrapped, &MasterKey::generate())), None);
    }
}
