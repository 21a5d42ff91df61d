//! A second task that shares something with the case's own, and does what it is asked to.
//!
//! A peer is made by clone(2) without CLONE_VM: it has a copy of the caller's memory and shares
//! what its flags name. Questions and answers go through a shared mapping and two futexes, so a
//! peer may lose its descriptors, mounts or credentials and still answer.

use crate::observe::Observer;
use crate::spec::prelude::*;
use crate::tasks::end::has_ended;
use crate::tasks::shm::{Word, map_zeroed};

/// Room for a question's argument or an answer, in JSON.
const ROOM: usize = 60 * 1024;

/// How long to wait for an answer before looking whether the peer is still alive.
const PATIENCE: Duration = Duration::from_millis(200);

#[repr(C)]
#[derive(Debug)]
struct Mailbox {
    /// Number of the last question asked.
    asked: Word,
    /// Number of the last question answered.
    answered: Word,
    /// The address of the function that answers; the peer runs the same program image.
    answer: AtomicUsize,
    length: AtomicUsize,
    text: UnsafeCell<[u8; ROOM]>,
}

type Answerer = fn(&mut [u8], usize) -> usize;

/// A task that shares what its flags name, and answers questions. Killed when dropped.
#[derive(Debug)]
pub struct Peer {
    task: Task,
    name: String,
    mailbox: &'static Mailbox,
}

// SAFETY: the text is written by one side at a time; the futexes order the turns.
unsafe impl Sync for Mailbox {}

impl Mailbox {
    /// The question or answer, for the side whose turn it is.
    #[expect(clippy::mut_from_ref, reason = "the futexes give one side at a time its turn")]
    fn text(&self) -> &mut [u8] {
        // SAFETY: only the side whose turn it is calls this.
        unsafe { &mut *self.text.get() }
    }

    /// The peer's life: answer until killed.
    fn serve(&self) -> ! {
        let mut done = 0;
        loop {
            done = self.asked.wait_while(done);
            let address = self.answer.load(Ordering::Acquire);
            // SAFETY: the address was taken from such a function by the process that this one was
            // forked from; both run the same image at the same place.
            let answer: Answerer = unsafe { std::mem::transmute(address) };
            let length = answer(self.text(), self.length.load(Ordering::Acquire));
            self.length.store(length, Ordering::Release);
            self.answered.set(done);
        }
    }
}

/// Reads the argument from the mailbox, calls the function, writes the answer there.
fn answer_with<A: DeserializeOwned, R: Serialize, F: Fn(A) -> Result<R, Errno> + Copy>(
    text: &mut [u8],
    length: usize,
) -> usize {
    const { assert!(size_of::<F>() == 0, "a question must not capture anything: pass it as argument") };
    // SAFETY: a type of size 0 has one value, and it is Copy.
    let function: F = unsafe { std::mem::zeroed() };
    let answer: Result<R, i32> = match serde_json::from_slice(&text[..length]) {
        Ok(argument) => function(argument).map_err(|errno| errno as i32),
        Err(_) => Err(libc::EBADMSG),
    };
    let mut rest: &mut [u8] = text;
    if serde_json::to_writer(&mut rest, &answer).is_err() {
        return 0;
    }
    let left = rest.len();
    ROOM - left
}

impl Peer {
    /// Starts a peer that shares with the caller what `sharing` names (CLONE_FS, CLONE_FILES,
    /// CLONE_SYSVSEM; not CLONE_VM).
    #[track_caller]
    pub fn start(t: &Test, name: &str, sharing: Flags) -> Done<Peer> {
        // So that the peer can be observed.
        Observer::of(t)?;
        // SAFETY: zeroes are a valid mailbox.
        let mailbox: &Mailbox = t.setup(Call::io("mmap(MAP_SHARED)", unsafe { map_zeroed() }))?;
        let task = t.spawn_sharing(name, sharing.0, |_| mailbox.serve())?;
        let name = name.to_owned();
        Ok(Peer { task, name, mailbox })
    }

    /// What diagnostics call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process ID.
    pub fn pid(&self) -> Pid {
        self.task.pid()
    }

    /// Has the peer call `function` with `argument` and gives the result, as a call named `text`.
    /// The function must not capture anything; what it needs goes into the argument.
    #[track_caller]
    pub fn call<A, R, F>(&self, t: &Test, text: &str, argument: A, function: F) -> Done<Call<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        F: Fn(A) -> Result<R, Errno> + Copy,
    {
        let _ = function;
        let mut rest: &mut [u8] = self.mailbox.text();
        t.setup(Call::io("write(question)", serde_json::to_writer(&mut rest, &argument).map_err(io::Error::from)))?;
        let length = ROOM - rest.len();
        let answerer: Answerer = answer_with::<A, R, F>;
        self.mailbox.length.store(length, Ordering::Release);
        self.mailbox.answer.store(answerer as usize, Ordering::Release);
        let question = self.mailbox.asked.advance();
        while self.mailbox.answered.wait_for(question - 1, PATIENCE) != question {
            if has_ended(self.pid()) && self.mailbox.answered.get() != question {
                return Err(t.broken(text.to_owned(), "the peer is gone"));
            }
        }
        let length = self.mailbox.length.load(Ordering::Acquire);
        let answer: Result<R, i32> = t.setup(Call::io(
            "read(answer)",
            serde_json::from_slice(&self.mailbox.text()[..length]).map_err(io::Error::from),
        ))?;
        Ok(Call::new(text.to_owned(), answer.map_err(Errno::from_raw)))
    }

    /// Like [`call`](Self::call), for a step that must work.
    #[track_caller]
    pub fn setup<A, R, F>(&self, t: &Test, text: &str, argument: A, function: F) -> Done<R>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
        F: Fn(A) -> Result<R, Errno> + Copy,
    {
        let call = self.call(t, text, argument, function)?;
        t.setup(call)
    }

    /// Ends the peer and waits until it is reaped, so that it shares nothing any more.
    pub fn end(mut self) {
        self.task.kill();
    }
}
