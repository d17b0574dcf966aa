//! A real Prometheus scrapes a live supervisor, and says through its own interface what the test brought about.
//!
//! ```text
//!   test ──► terminals ──► kaval /metrics ◄──scrape, every 200 ms── prometheus ◄──query── test
//! ```

#[path = "support/prometheus.rs"]
mod prometheus;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/scrape.rs"]
mod scrape;
mod support;
#[path = "support/watch.rs"]
mod watch;

use prometheus::Prometheus;
use scrape::{ANYWHERE, address};
use support::Instance;
use watch::until_some;

#[test]
fn prometheus_sees_what_happens_and_no_longer_sees_a_removed_terminal() {
    let instance = Instance::start_with("", &ANYWHERE);
    let Some(prometheus) = Prometheus::start(&address(&instance)) else { return };
    prometheus.await_answer("up{job=\"kaval\"}", &[1.0]);
    prometheus.await_answer("kaval_terms{state=\"live\"}", &[0.0]);

    for name in ["idle", "other"] {
        instance.ok(&["new", "-d", name, "--", "sh", "-c", "printf 12345; exec sleep 100000"]);
    }
    instance.ok(&["new", "-d", "ended", "--", "sh", "-c", "printf 1234567; exit 3"]);
    instance.ok(&["wait", "ended", "--exit"]);
    prometheus.await_answer("kaval_terms{state=\"live\"}", &[2.0]);
    prometheus.await_answer("kaval_terms{state=\"exited\"}", &[1.0]);
    prometheus.await_answer("sum(kaval_terms)", &[3.0]);
    prometheus.await_answer("kaval_term_output_bytes_total{id=\"1\"}", &[5.0]);
    prometheus.await_answer("kaval_term_output_bytes_total{id=\"3\"}", &[7.0]);
    prometheus.await_answer("kaval_output_bytes_total", &[17.0]);
    prometheus.await_answer("kaval_terms_exited_total{cause=\"code\"}", &[1.0]);
    let pid = until_some("the process's descriptors", || prometheus.query("process_open_fds").first().copied());
    assert!(pid > 0.0);

    // A series that a scrape no longer has is stale at once, and is not carried on for the usual five minutes.
    instance.ok(&["rm", "ended"]);
    prometheus.await_answer("kaval_term_output_bytes_total{id=\"3\"}", &[]);
    prometheus.await_answer("count(kaval_term_memory_bytes{id=\"3\"})", &[]);
    prometheus.await_answer("kaval_terms{state=\"exited\"}", &[0.0]);
    assert_eq!(prometheus.query("kaval_term_output_bytes_total{id=\"1\"}"), [5.0]);
    assert_eq!(prometheus.query("count(count by (id) (kaval_term_memory_bytes))"), [2.0]);
}
