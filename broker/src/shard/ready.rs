//! Which rows of a shard's table have something to do: a list that their wakers append to.
//!
//! One waker serves all polls of a connection, so reading and writing can't steal each other's; a stale wake is only
//! a cheap poll. Together with the shard's single task this is a `FuturesUnordered` without futures.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// Slots that were woken, and the task to wake for them.
#[derive(Default)]
pub struct Ready {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: Vec<u32>,
    task: Option<Waker>,
    /// Something else than a slot wants a turn.
    nudged: bool,
}

struct SlotWaker {
    ready: Arc<Ready>,
    slot: u32,
}

// === impl Ready ===

impl Ready {
    /// Says which task runs the turns.
    pub fn set_task(&self, waker: &Waker) {
        let mut state = self.lock();
        match &mut state.task {
            Some(task) => task.clone_from(waker),
            None => state.task = Some(waker.clone()),
        }
    }

    /// Appends the woken slots to `into`, in the order of their wakes; a slot may stand in it more than once.
    pub fn take(&self, into: &mut Vec<u32>) {
        let mut state = self.lock();
        state.nudged = false;
        if into.is_empty() {
            std::mem::swap(&mut state.slots, into);
        } else {
            into.append(&mut state.slots);
        }
    }

    /// Asks for a turn.
    pub fn nudge(&self) {
        let mut state = self.lock();
        let first = state.slots.is_empty() && !state.nudged;
        state.nudged = true;
        let task = if first { state.task.clone() } else { None };
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// A waker for the connection in `slot`.
    pub fn waker(self: &Arc<Self>, slot: u32) -> Waker {
        Waker::from(Arc::new(SlotWaker { ready: Arc::clone(self), slot }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing in here panics half-way; a poisoned list is still a list.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl SlotWaker ===

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.ready.lock();
        let first = state.slots.is_empty() && !state.nudged;
        state.slots.push(self.slot);
        let task = if first { state.task.clone() } else { None };
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}
