//! Messages between the reporting process and its supervisors, over a socket pair.

use serde::de::DeserializeOwned;

use super::*;

/// One run of one entry of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    /// Place in the plan.
    pub index: u32,
    /// Which repetition, from 0.
    pub repetition: u32,
}

/// Limit on a message in bytes: more than a full record log and output need in JSON.
const LONGEST: usize = 16 * 1024 * 1024;

/// Sends a job or an observation.
pub(super) fn send(stream: &mut UnixStream, what: &impl Serialize) -> io::Result<()> {
    let mut message = vec![0; 4];
    serde_json::to_writer(&mut message, what)?;
    let length = (message.len() - 4) as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    stream.write_all(&message)
}

/// Receives what the other side sent.
pub(super) fn receive<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_ne_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::other("message too long"));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message)?;
    Ok(serde_json::from_slice(&message)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_arrive_as_they_were_sent() {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let job = Job { index: 7, repetition: 99 };
        send(&mut a, &job).unwrap();
        assert_eq!(receive::<Job>(&mut b).unwrap(), job);
    }

    proptest::proptest! {
        /// A supervisor shares a machine with cases that go wrong: whatever it sends is an answer or an error.
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            let (mut a, mut b) = UnixStream::pair().unwrap();
            let length = bytes.len() as u32;
            a.write_all(&[&length.to_ne_bytes(), bytes.as_slice()].concat()).unwrap();
            a.write_all(&bytes).unwrap();
            drop(a);
            proptest::prop_assert!(receive::<Observation>(&mut b).is_err());
            proptest::prop_assert!(receive::<Observation>(&mut b).is_err());
        }
    }

    #[test]
    fn a_cut_off_answer_is_an_error() {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        a.write_all(&100u32.to_ne_bytes()).unwrap();
        a.write_all(b"{").unwrap();
        drop(a);
        assert!(receive::<Observation>(&mut b).is_err());
    }
}
