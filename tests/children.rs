//! Which terminal is eating the machine.

#[path = "support/raw.rs"]
mod raw;
#[path = "support/scrape.rs"]
mod scrape;
mod support;
#[path = "support/watch.rs"]
mod watch;

use scrape::{ANYWHERE, Scrape};
use serde_json::Value;
use support::Instance;
use watch::{until, until_some};

const HOG_BYTES: u64 = 100 << 20;

fn term(instance: &Instance, name: &str) -> Value {
    instance.ls().into_iter().find(|term| term["name"] == name).unwrap()
}

fn cpu(instance: &Instance, name: &str) -> f64 {
    term(instance, name)["child_cpu_seconds"].as_f64().unwrap_or(0.0)
}

#[test]
fn who_burns_and_who_hogs_is_told_from_who_idles_and_what_was_used_stays_counted() {
    let instance = Instance::start_with("", &ANYWHERE);
    let hog = format!("printf MARK; exec python3 -c 'b = bytearray({HOG_BYTES}); input()'");
    for (name, script) in [
        ("idle", "exec sleep 1000"),
        // The burner is a child of the terminal's, in a session of its own, and ends after it.
        ("burner", "setsid sh -c \"while kill -0 $$ 2>/dev/null; do :; done\" & wait"),
        ("hog", &hog),
    ] {
        instance.ok(&["new", "-d", name, "--", "sh", "-c", script]);
    }
    until("the burner to burn", || {
        term(&instance, "burner")["child_cpu_percent"].as_f64().is_some_and(|percent| percent > 20.0)
    });
    until("the hog to hog", || term(&instance, "hog")["child_memory_bytes"].as_u64().is_some_and(|bytes| bytes > HOG_BYTES));
    let idle = term(&instance, "idle");
    assert!(
        idle["child_cpu_percent"].as_f64().unwrap() < 5.0 && idle["child_memory_bytes"].as_u64().unwrap() < 20 << 20,
        "{idle}"
    );

    let first = |by: &str| instance.ok(&["ls", "--sort", by]).lines().nth(1).unwrap().to_owned();
    assert!(first("cpu").starts_with("burner") && first("memory").starts_with("hog") && first("age").starts_with("idle"));
    let status: Value = serde_json::from_str(&instance.ok(&["status", "--json"])).unwrap();
    let largest: Vec<_> = status["children"]["largest"].as_array().unwrap().iter().map(|child| &child["name"]).collect();
    assert_eq!((largest[0], status["children"]["memory_bytes"].as_u64() > Some(HOG_BYTES)), (&Value::from("burner"), true));

    let of = |name: &str, metric: &str| {
        let id = term(&instance, name)["id"].to_string();
        Scrape::of(&instance).sum(metric, &[("id", &id)])
    };
    assert!(of("hog", "kaval_term_child_memory_bytes") > HOG_BYTES as f64);
    let before = of("burner", "kaval_term_child_cpu_seconds_total");
    assert!(before > 0.1, "{before} s");

    // An end takes nothing back.
    instance.ok(&["kill", "burner", "--signal", "KILL"]);
    until("the burner's end", || term(&instance, "burner")["state"] == "exited");
    let after = until_some("a look at what is left", || Some(cpu(&instance, "burner")).filter(|seconds| *seconds > 0.0));
    assert!(after >= before, "{after} s after {before} s");
}
