//! What a runner tells the init of its guest, on the kernel command line.
//!
//! The kernel takes a parameter with a dot in its name for some module's and keeps quiet about it. Words after ` -- `
//! would reach init as they are, but the kernel gives up ("Too many init vars") at the 33rd.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The parameters of ours on a kernel command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The device below `/dev` that results are written to; without one it is the console.
    pub results: Option<String>,
    /// What the runner knows the cases by that these arguments select, for an init that may be another build.
    pub plan: Option<String>,
    /// The arguments of our binary, without its name.
    pub arguments: Vec<String>,
}

const RESULTS: &str = "unshare_conformance.results=";
const PLAN: &str = "unshare_conformance.plan=";
const ARGUMENTS: &str = "unshare_conformance.args=";

/// What a command line or a list separated by commas could misread.
const MISREAD: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'/')
    .remove(b':')
    .remove(b'=')
    .remove(b'+')
    .remove(b'@')
    .remove(b'*');

impl Parameters {
    /// As words for a kernel command line, separated by one space; empty when there is nothing to say.
    ///
    /// Arguments are separated by commas; what a command line or that list could misread is written `%XX`, as in a
    /// URL.
    pub fn to_command_line(&self) -> String {
        let results = self.results.as_ref().map(|results| format!("{RESULTS}{}", quoted(results)));
        let plan = self.plan.as_ref().map(|plan| format!("{PLAN}{}", quoted(plan)));
        let arguments: Vec<String> = self.arguments.iter().map(|argument| quoted(argument)).collect();
        let arguments = (!arguments.is_empty()).then(|| format!("{ARGUMENTS}{}", arguments.join(",")));
        results.into_iter().chain(plan).chain(arguments).collect::<Vec<_>>().join(" ")
    }

    /// Reads them from a whole kernel command line, as `/proc/cmdline` has it. Of a repeated parameter the last
    /// counts, as with the kernel's own; boot loaders append.
    pub fn parse(command_line: &str) -> Parameters {
        let mut parameters = Parameters::default();
        for word in command_line.split_ascii_whitespace() {
            if let Some(results) = word.strip_prefix(RESULTS) {
                parameters.results = Some(unquoted(results)).filter(|name| !name.is_empty());
            } else if let Some(plan) = word.strip_prefix(PLAN) {
                parameters.plan = Some(unquoted(plan));
            } else if let Some(arguments) = word.strip_prefix(ARGUMENTS) {
                parameters.arguments = arguments.split(',').map(unquoted).collect();
            }
        }
        parameters
    }
}

fn quoted(text: &str) -> String {
    utf8_percent_encode(text, MISREAD).to_string()
}

/// The inverse; a `%` that is not followed by two hexadecimal digits stands for itself.
fn unquoted(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_survives_the_command_line() {
        let hard = ["", "a b", "100%", "%41", "\"quoted\"", "a,b", "--", "x=y", "é\n\t", "pid.*", "'", "\\", "%"];
        let parameters = Parameters {
            results: Some("ttyS1".into()),
            plan: Some("1234abcd".into()),
            arguments: hard.iter().map(|text| text.to_string()).collect(),
        };
        let line = parameters.to_command_line();
        assert!(line.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') && !line.contains('"'), "{line}");
        assert_eq!(Parameters::parse(&format!("console=ttyS0 {line} quiet\n")), parameters);
    }

    #[test]
    fn nothing_said_is_nothing_read() {
        assert_eq!(Parameters::default().to_command_line(), "");
        assert_eq!(Parameters::parse("console=ttyS0 panic=-1"), Parameters::default());
        assert_eq!(Parameters::parse("unshare_conformance.results="), Parameters::default());
    }

    #[test]
    fn the_last_of_a_repeated_parameter_counts() {
        let parameters = Parameters::parse("unshare_conformance.args=a unshare_conformance.args=run,--seed,1");
        assert_eq!(parameters.arguments, ["run", "--seed", "1"]);
    }
}
