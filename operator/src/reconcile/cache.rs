//! What the watches have told last, by namespace and name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Objects of one kind. Many read it, one watch for each scope writes it.
#[derive(Debug)]
pub struct Cache<T> {
    objects: Mutex<HashMap<String, BTreeMap<String, Arc<T>>>>,
}

/// What a watch has listed so far, after it began anew; `None` for the namespace: all of them.
#[derive(Debug, Default)]
pub struct Listing {
    scope: Option<String>,
    seen: HashSet<(String, String)>,
}

// === impl Cache ===

impl<T> Cache<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<String, Arc<T>>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object of that name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.lock().get(namespace)?.get(name).cloned()
    }

    /// Every object of a namespace that passes, in the order of their names.
    pub fn select(&self, namespace: &str, test: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let objects = self.lock();
        let all = objects.get(namespace).into_iter().flat_map(BTreeMap::values);
        all.filter(|object| test(object)).cloned().collect()
    }

    /// Keeps an object; the one that was there is returned.
    pub fn put(&self, namespace: &str, name: &str, object: T) -> Option<Arc<T>> {
        self.lock().entry(namespace.to_owned()).or_default().insert(name.to_owned(), Arc::new(object))
    }

    /// Keeps what a write was answered with, in place of what was there `before` the request was sent. Nothing happens if a
    /// watch told something meanwhile: that is newer, or what is newer will be told.
    pub fn replace(&self, namespace: &str, name: &str, before: Option<&Arc<T>>, object: T) {
        let mut objects = self.lock();
        let now = objects.get(namespace).and_then(|names| names.get(name));
        if before.map(Arc::as_ptr) == now.map(Arc::as_ptr) {
            objects.entry(namespace.to_owned()).or_default().insert(name.to_owned(), Arc::new(object));
        }
    }

    /// Forgets an object, and returns it.
    pub fn remove(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        let mut objects = self.lock();
        let names = objects.get_mut(namespace)?;
        let removed = names.remove(name);
        if names.is_empty() {
            objects.remove(namespace);
        }
        removed
    }

    /// Forgets what a complete listing did not have, and returns it.
    pub fn prune(&self, listing: &Listing) -> Vec<Arc<T>> {
        let gone: Vec<(String, String)> = {
            let objects = self.lock();
            let scoped =
                objects.iter().filter(|(namespace, _)| listing.scope.as_ref().is_none_or(|scope| scope == *namespace));
            let all = scoped.flat_map(|(namespace, names)| names.keys().map(|name| (namespace.clone(), name.clone())));
            all.filter(|place| !listing.seen.contains(place)).collect()
        };
        gone.into_iter().filter_map(|(namespace, name)| self.remove(&namespace, &name)).collect()
    }

    /// Every object, in no order.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.lock().values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.lock().values().map(BTreeMap::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { objects: Mutex::default() }
    }
}

// === impl Listing ===

impl Listing {
    /// An empty one of that scope.
    pub fn of(scope: Option<String>) -> Self {
        Self { scope, seen: HashSet::new() }
    }

    /// An object is there.
    pub fn saw(&mut self, namespace: &str, name: &str) {
        self.seen.insert((namespace.to_owned(), name.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_write_is_kept_unless_a_watch_told_something_meanwhile() {
        let cache = Cache::default();
        let kept = || cache.get("a", "one").map(|object| *object);
        cache.replace("a", "one", None, 1);
        assert_eq!(kept(), Some(1));
        let before = cache.get("a", "one");
        cache.put("a", "one", 3);
        cache.replace("a", "one", before.as_ref(), 2);
        assert_eq!(kept(), Some(3), "what a watch told is newer");
        let before = cache.get("a", "one");
        cache.remove("a", "one");
        cache.replace("a", "one", before.as_ref(), 4);
        assert_eq!(kept(), None, "what is gone does not come back");
    }

    #[test]
    fn a_listing_forgets_what_is_gone_in_its_own_scope_alone() {
        let cache = Cache::default();
        for (namespace, name) in [("a", "kept"), ("a", "gone"), ("b", "elsewhere")] {
            cache.put(namespace, name, name.to_owned());
        }
        let mut listing = Listing::of(Some("a".to_owned()));
        listing.saw("a", "kept");
        let gone = cache.prune(&listing);
        assert_eq!(gone.iter().map(|name| &***name).collect::<Vec<_>>(), ["gone"]);
        assert_eq!((cache.len(), cache.get("b", "elsewhere").is_some()), (2, true));
        assert_eq!(cache.prune(&Listing::of(None)).len(), 2, "an empty listing of everything forgets everything");
        assert!(cache.is_empty());
    }
}
