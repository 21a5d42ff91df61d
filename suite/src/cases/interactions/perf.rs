//! unshare(2) as a profiler sees it (section 8 of the behaviour catalogue).

use harness::abi::layout::BitFields;

use crate::prelude::*;

/// struct perf_event_attr of linux/perf_event.h in its first form, which is enough.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: BitFields,
    wakeup: u32,
    breakpoint: u32,
    address: u64,
}

const SOFTWARE: u32 = 1;
const DUMMY: u64 = 9;
/// The bit `namespaces` of the attributes' flags.
const NAMESPACES: BitFields = BitFields::only(28);
const RECORD_NAMESPACES: u32 = 16;
/// Where the first page of the ring has the position that the kernel has written to.
const DATA_HEAD: usize = 1024;

/// The kinds of link in a record, in its order.
const RECORDED: [Ns; 7] = [Ns::Net, Ns::Uts, Ns::Ipc, Ns::Pid, Ns::User, Ns::Mnt, Ns::Cgroup];

/// Records of namespaces of the calling task.
struct Recorder {
    _event: OwnedFd,
    ring: *mut u8,
    page: usize,
    read: usize,
}

impl Recorder {
    #[track_caller]
    fn start(t: &Test) -> Done<Self> {
        let attributes = Attributes {
            kind: SOFTWARE,
            size: size_of::<Attributes>() as u32,
            config: DUMMY,
            flags: NAMESPACES,
            ..Attributes::default()
        };
        // SAFETY: the attributes live through the call; it takes numbers besides.
        let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, 0, -1, -1, 0) };
        let event = match Errno::result(fd) {
            // SAFETY: the descriptor is new.
            Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd as i32) },
            Err(errno @ (Errno::ENOSYS | Errno::EACCES | Errno::EPERM)) => {
                return Err(t.skip(format!(
                    "perf_event_open(2) does not record namespaces here ({errno:?}): it takes \
                     CONFIG_PERF_EVENTS, and CAP_PERFMON in the initial user namespace"
                )));
            }
            Err(errno) => return t.setup(Call::new("perf_event_open()", Err(errno))),
        };
        // SAFETY: takes a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        // SAFETY: a fresh mapping of a descriptor of ours: one page of figures, eight of records.
        let ring = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                9 * page,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_raw_fd(),
                0,
            )
        };
        t.setup(Call::new("mmap(perf event)", if ring == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(()) }))?;
        Ok(Self { _event: event, ring: ring.cast(), page, read: 0 })
    }

    /// A field of a record, aligned to its size as all of them are.
    fn field<F: Copy>(&self, at: usize) -> F {
        let at = self.page + at % (8 * self.page);
        // SAFETY: within the mapping, and aligned; the fields asked for are numbers.
        unsafe { self.ring.add(at).cast::<F>().read_volatile() }
    }

    /// The inodes of the links in each record of namespaces since the last look.
    fn new_records(&mut self) -> Vec<[u64; RECORDED.len()]> {
        // SAFETY: within the mapping, and aligned.
        let head = unsafe { &*self.ring.add(DATA_HEAD).cast::<AtomicU64>() };
        let end = head.load(Ordering::Acquire) as usize;
        let mut records = Vec::new();
        while self.read < end {
            // struct perf_event_header: kind, two bytes of remarks, size.
            let size: u16 = self.field(self.read + 6);
            if self.field::<u32>(self.read) == RECORD_NAMESPACES {
                // Header, process and thread ID, number of links; then device and inode of each.
                let links = self.read + 24;
                records.push(std::array::from_fn(|link| self.field(links + 16 * link + 8)));
            }
            self.read += usize::from(size).max(8);
        }
        records
    }
}

case!(Case {
    name: "interactions.perf",
    about: "A profiler that asks for namespaces gets one record for each successful unshare(2), also for one that \
            did nothing, with the links as they are afterwards; and none for one that failed.",
    proves: &["INT-16"],
    source: "perf_event_open(2), PERF_RECORD_NAMESPACES; kernel, kernel/fork.c",
    needs: Needs::ROOT.with(feature::INITIAL_ROOT).with(feature::UTS_NS),
    variants: || variants::of_flags([
        Flags::NONE,
        Flags::FS,
        Flags::NEWUTS,
        Flags::NEWUTS | Flags::NEWNS | Flags::FILES,
        Flags(1 << 63),
        Flags::NEWUTS | Flags(1 << 40),
    ]),
    run: |t| {
        let flags = t.param::<Flags>();
        let observer = Observer::open(t)?;
        let mut recorder = Recorder::start(t)?;
        let _before = recorder.new_records();
        let prediction = t.unshare(flags).prediction()?;
        let records = recorder.new_records();
        let state = observer.state();
        let expected = if prediction.result.is_ok() { vec![RECORDED.map(|ns| state.namespace(ns))] } else { vec![] };
        t.check(Call::seen(format!("records of namespaces (links {RECORDED:?}) during unshare({flags})"), records))
            .is(expected)
    }
});
