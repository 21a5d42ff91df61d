//! Tasks that leave semaphore adjustments and shared memory segments behind at the same time (section 7 of the
//! behaviour catalogue).

use crate::engines::race::DEADLINE;
use crate::prelude::*;

/// How many tasks share an undo list.
const SHARERS: u32 = 4;

/// One of the tasks that share an undo list: waits for the others, leaves the list, and stays until the value was
/// looked at.
fn leave(t: &Test, barrier: &Barrier, (delay, flags): (u32, Flags)) -> Done {
    barrier.start(SHARERS, delay);
    let call = unshare(flags);
    barrier.finish();
    barrier.wait_until_over();
    t.check(call).succeeds()
}

case!(Case {
    name: "races.undo_list.left_at_once",
    about: "Four tasks that share an undo list leave it at the same moment, by CLONE_SYSVSEM, by CLONE_NEWIPC or by \
            exit: when all have left, everything they took is given back, once.",
    proves: &["RACE-08"],
    source: "2006 design document, 8 (4); semop(2), SEM_UNDO; kernel, ipc/sem.c",
    needs: Needs::ROOT.with(feature::SYSV_IPC).with(feature::IPC_NS),
    run: |t| {
        const ID: &str = "RACE-08";
        play(t, 2, |random, barrier| {
            let start = random.i32(10..1000);
            let semaphore = Semaphore::new(t, start)?;
            let one_exits = random.bool();
            let plans: Vec<(u32, Flags)> = (0..SHARERS)
                .map(|_| (delay(random), if random.bool() { Flags::SYSVSEM } else { Flags::NEWIPC }))
                .collect();
            let first = barrier.spawn(t, "first sharer", Flags::NONE, |t| {
                semaphore.add_with_undo(t, Side::Caller, -1)?;
                let others = plans[1..]
                    .iter()
                    .enumerate()
                    .map(|(at, plan)| {
                        barrier.spawn(t, "sharer", Flags::SYSVSEM, |t| {
                            semaphore.add_with_undo(t, Side::Caller, -2)?;
                            if at == 0 && one_exits {
                                barrier.start(SHARERS, plan.0);
                                return Ok(());
                            }
                            leave(t, barrier, *plan)
                        })
                    })
                    .collect::<Done<Vec<_>>>()?;
                let done = leave(t, barrier, plans[0]);
                others.into_iter().try_for_each(|other| other.join(t))?;
                done
            })?;
            barrier.wait_until_finished(SHARERS - u32::from(one_exits));
            if one_exits {
                // When it has exited cannot be seen from here: all are let go first.
                barrier.end();
                first.join(t)?;
                semaphore.check_value(t, "when all sharers of the undo list are gone", start, ID)?;
                return Ok("with one that exits");
            }
            let checked = semaphore.check_value(t, "when all sharers have left the undo list", start, ID);
            barrier.end();
            checked?;
            first.join(t)?;
            semaphore.check_value(t, "when all sharers are gone", start, ID)?;
            Ok("with unshare alone")
        })
    }
});

/// How many segments the first task makes, and how many of them the other removes.
const SEGMENTS: usize = 6;
const REMOVED: usize = SEGMENTS / 2;

fn remove_segment(id: i32) -> Result<(), Errno> {
    // SAFETY: IPC_RMID takes no further argument.
    Errno::result(unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) }).map(drop)
}

case!(Case {
    name: "races.shm.forced_removal",
    about: "With kernel.shm_rmid_forced at 1, a task that made segments in two IPC namespaces leaves the first by \
            CLONE_NEWIPC and exits, while another removes half of its segments: each removal succeeds or finds the \
            segment gone, and in the end there is none at all.",
    proves: &["RACE-09"],
    source: "kernel, ipc/shm.c; proc(5), shm_rmid_forced",
    // The setting is that of the IPC namespace, but may be written in the initial user namespace alone.
    needs: Needs::ROOT.with(feature::SYSV_IPC).with(feature::IPC_NS).with(feature::INITIAL_ROOT),
    run: |t| in_own_namespaces(t, Flags::NEWIPC, |t| {
        t.setup(segments::force_removal())?;
        let make = || Call::new("shmget(IPC_PRIVATE)", new_segment(()));
        play(t, 1, |random, barrier| {
            let (mine, its) = (delay(random), delay(random));
            let maker = barrier.spawn(t, "maker", Flags::NONE, |t| {
                for at in 0..SEGMENTS {
                    barrier.put(at, t.setup(make())? as u64);
                }
                barrier.start(2, its);
                t.check(unshare(Flags::NEWIPC)).succeeds()?;
                t.check(Call::new("segments in the new IPC namespace", segments::count(()))).is(0)?;
                for _ in 0..2 {
                    t.setup(make())?;
                }
                Ok(())
            })?;
            barrier.start(2, mine);
            let mut removed = 0;
            // The others are left to the kernel.
            for at in (0..SEGMENTS).step_by(2) {
                let result = remove_segment(barrier.get(at) as i32);
                match result {
                    Ok(()) => removed += 1,
                    Err(Errno::EINVAL | Errno::EIDRM) => {}
                    Err(_) => {
                        t.check(Call::new("shmctl(IPC_RMID) of a segment that may be gone", result)).succeeds()?
                    }
                }
            }
            maker.join(t)?;
            t.check(Call::new("segments left when their maker is gone", segments::count(()))).is(0)?;
            Ok(match removed {
                0 => "with none found",
                REMOVED => "with all found",
                _ => "with some found",
            })
        })
    })
});
