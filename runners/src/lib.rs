//! Where the suite runs, and the command line.
//!
//! | room | is for |
//! |---|---|
//! | [`cli`] | the command line: shared arguments, dispatch, exit statuses |
//! | `run` | running cases on the kernel at hand, and reporting |
//! | [`guest`] | running cases in a guest |
//! | `matrix` | running cases on many kernels |
//! | `fault_matrix` | running cases under simulated faults |
//! | `results` | results that were kept: compared, merged |
//! | `catalogue` | what the suite has: cases, requirements, known bugs, manual pages |
//! | `kernels` | kernels that a guest can boot, and the guest's image |

mod catalogue;
pub mod cli;
mod fault_matrix;
pub mod guest;
#[cfg(feature = "guest-faults")]
mod guest_faults;
mod kernels;
mod matrix;
#[cfg(test)]
mod mutation;
mod results;
mod run;
