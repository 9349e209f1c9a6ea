//! A format string is read or refused with a span and a remedy; one that is read explains itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::Plan;

fuzz_target!(|text: &str| {
    let compiled = match Spec::parse(text) {
        Ok(Spec::Auto | Spec::AutoWithin(_)) => return,
        Ok(Spec::Format(format)) => Plan::compile(&format),
        Err(error) => Err(error),
    };
    match compiled {
        Ok(plan) => {
            for explained in plan.explain() {
                let there = plan.format().text.get(explained.span);
                // A backslash in the server's config may stand for something else, quotes of a command
                // line for nothing; in HAProxy's, words may be quoted in parts, and hold variables.
                let escaped = there.is_some_and(|there| {
                    let in_words = text.trim_start().contains("haproxy:");
                    there.contains(['\\', '\'', '"']) || in_words && there.contains('$')
                });
                assert!(escaped || there == Some(&*explained.written), "{there:?}");
            }
            if let Err(error) = plan.read(text.as_bytes()) {
                assert!(error.at <= text.len());
                plan.describe(&error);
            }
        }
        Err(error) => {
            assert!(text.get(error.span.clone()).is_some(), "{error:?}");
            assert!(error.help.is_some());
        }
    }
});
