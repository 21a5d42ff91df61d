//! Unions and bit-fields of the kernel's structures, whose layout depends on the order of bytes.

use libc::c_int;

/// `union semun`, the fourth argument of semctl(2) (semctl(2); include/uapi/linux/sem.h).
#[repr(C)]
#[derive(Clone, Copy)]
pub union Semun {
    /// With SETVAL.
    pub value: c_int,
    /// A buffer: with IPC_STAT, IPC_SET, GETALL and SETALL.
    pub buffer: *mut libc::c_void,
}

impl Semun {
    /// The union with a number in it, as a whole word: a big-endian machine has the number in the upper half.
    pub fn of_value(value: c_int) -> usize {
        let mut union = Semun { buffer: std::ptr::null_mut() };
        union.value = value;
        // SAFETY: all bytes were set with the pointer, and any bits are a valid address.
        unsafe { union.buffer as usize }
    }
}

/// A 64-bit word of one-bit fields as the C compiler lays them out: from the lowest bit on little-endian machines, from
/// the highest on big-endian ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct BitFields(u64);

impl BitFields {
    /// The word in which only the field is set that so many one-bit fields come before.
    pub const fn only(before: u32) -> Self {
        Self(if cfg!(target_endian = "big") { 1 << (63 - before) } else { 1 << before })
    }
}

/// Where the lower and the upper half of a 64-bit word lie within it, in bytes.
pub const HALVES: [u32; 2] = if cfg!(target_endian = "big") { [4, 0] } else { [0, 4] };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_union_begins_with_its_number() {
        assert_eq!(Semun::of_value(-2).to_ne_bytes()[..4], (-2_i32).to_ne_bytes());
    }

    #[test]
    fn fields_are_counted_from_the_first_byte() {
        let bytes = BitFields::only(28).0.to_ne_bytes();
        let bit = if cfg!(target_endian = "big") { 0x08 } else { 0x10 };
        assert_eq!(bytes, [0, 0, 0, bit, 0, 0, 0, 0]);
    }

    #[test]
    fn halves_are_where_the_machine_has_them() {
        let bytes = 0x1_0000_0002_u64.to_ne_bytes();
        let half = |at: u32| u32::from_ne_bytes(bytes[at as usize..][..4].try_into().unwrap());
        assert_eq!(HALVES.map(half), [2, 1]);
    }
}
