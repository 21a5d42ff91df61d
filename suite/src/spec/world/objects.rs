//! Objects of an IPC namespace, each under a key or name that tasks agree on (sysvipc(7), mq_overview(7); ipc/util.c,
//! ipc/mqueue.c).

use crate::spec::prelude::*;
use crate::spec::world::{Content, Id, NEXT_ID, SETTINGS, Space, Task, World};

/// What tasks make in an IPC namespace, one of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A System V message queue.
    Messages,
    /// A System V shared memory segment.
    Memory,
    /// A POSIX message queue.
    Queue,
}

impl Object {
    /// All of them.
    pub const ALL: [Object; 3] = [Object::Messages, Object::Memory, Object::Queue];
    /// The key of those of System V.
    pub const KEY: i32 = 0x756e_7368;
    /// The name of the other.
    pub const NAME: &CStr = c"unshare-conformance-walk";

    /// A set of them in words; each has the bit of its number.
    pub fn told(set: u32) -> String {
        let names = ["message queue", "shared memory", "POSIX queue"].into_iter().enumerate();
        let there: Vec<&str> = names.filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, name)| name).collect();
        if there.is_empty() { "none".to_owned() } else { there.join(", ") }
    }

    /// The calls that make and remove it.
    pub fn calls(self) -> [&'static str; 2] {
        match self {
            Object::Messages => ["msgget(IPC_CREAT|IPC_EXCL)", "msgctl(IPC_RMID)"],
            Object::Memory => ["shmget(IPC_CREAT|IPC_EXCL)", "shmctl(IPC_RMID)"],
            Object::Queue => ["mq_open(O_CREAT|O_EXCL)", "mq_unlink()"],
        }
    }
}

impl World {
    /// Who made each object that a task sees.
    pub fn objects(&self, task: &Task) -> [Option<u32>; Object::ALL.len()] {
        match self.spaces[&task.space(Ns::Ipc)].content {
            Content::Ipc { objects, .. } => objects,
            _ => Default::default(),
        }
    }

    /// Whether a task can make or remove an object. In the first IPC namespace it would outlive the history. A POSIX queue
    /// has an owner as files have.
    pub(super) fn may_handle(&self, task: &Task, object: Object) -> bool {
        let owner = self.spaces[&task.space(Ns::Ipc)].owner;
        let is_owner = self.objects(task)[object as usize].is_none_or(|maker| maker == task.user);
        !self.has_semaphore(task) && (object != Object::Queue || (is_owner && self.is_mapped(task.user, owner)))
    }

    pub(super) fn make_object(&mut self, task: &Task, object: Object) -> Result<(), Errno> {
        let mut objects = self.objects(task);
        match objects[object as usize].replace(task.user) {
            Some(_) => Err(Errno::EEXIST),
            None => {
                self.set_objects(task.space(Ns::Ipc), objects);
                if object == Object::Messages {
                    // It has the ID that was asked for.
                    self.set_setting(task, NEXT_ID, SETTINGS[NEXT_ID].default);
                }
                Ok(())
            }
        }
    }

    pub(super) fn remove_object(&mut self, task: &Task, object: Object) -> Result<(), Errno> {
        let space = task.space(Ns::Ipc);
        let mut objects = self.objects(task);
        let admin = self.capable(task, feature::CAP_SYS_ADMIN, self.spaces[&space].owner);
        match objects[object as usize].take() {
            None => Err(Errno::ENOENT),
            Some(maker) if maker != task.user && !admin => Err(Errno::EPERM),
            Some(_) => {
                self.set_objects(space, objects);
                Ok(())
            }
        }
    }

    fn set_objects(&mut self, space: Id, new: [Option<u32>; Object::ALL.len()]) {
        if let Some(Space { content: Content::Ipc { objects, .. }, .. }) = self.spaces.get_mut(&space) {
            *objects = new;
        }
    }
}
