//! The demo in Chromium, on one node with the embedded log.

mod http2;

use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_testkit::node::{Node, Options, get, post};
use tidegate_tests::{Chromium, Page, Watch, output_dir};

/// A job of the demo takes eight seconds.
const JOB: Duration = Duration::from_secs(6);

fn page(name: &str, url: String, start: bool) -> Page {
    Page { name: name.to_owned(), url, start }
}

/// Two pages start a job each and a third watches one of them from another tab, from its first step.
#[test]
fn every_page_sees_a_hundred_steps_in_order() -> Result<()> {
    let (output, data) = (output_dir("browser")?, tempfile::tempdir()?);
    let broker = format!("embedded:{}", data.path().display());
    let node = Node::start(Options::dev("node-1", &broker, &output))?;
    let response = post(node.port(), "/demo/jobs", "")?;
    let (_, body) = response.split_once("\r\n\r\n").unwrap_or_default();
    let job: serde_json::Value = serde_json::from_str(body)?;
    let watched = format!("{}/?job={}", node.url(), job["job"].as_str().unwrap_or_default());
    let watch = Watch {
        pages: vec![
            page("page1", format!("{}/", node.url()), true),
            page("page2", format!("{}/", node.url()), true),
            page("watching", watched, false),
        ],
        steps: 100,
        seconds: 60,
        screenshot: output.join("demo").to_string_lossy().into_owned(),
    };
    for (number, page) in Chromium::open(&watch)?.finish()?.iter().enumerate() {
        eprintln!("page {}: {} reconnects, node {:?}", number + 1, page.reconnects, page.node);
        page.check(100, if number < 2 { JOB } else { Duration::ZERO })?;
        ensure!(page.reconnects == 0, "page {} reconnected", number + 1);
    }
    Ok(())
}

/// A node that dies under a running job: the worker goes on when it is back, and the page misses nothing.
#[test]
fn a_killed_node_comes_back_and_nothing_is_missed() -> Result<()> {
    let (output, data) = (output_dir("browser-kill")?, tempfile::tempdir()?);
    let broker = format!("embedded:{}", data.path().display());
    let mut node = Node::start(Options::dev("node-1", &broker, &output))?;
    let watch = Watch {
        pages: vec![page("page", format!("{}/", node.url()), true)],
        steps: 100,
        seconds: 90,
        screenshot: output.join("kill").to_string_lossy().into_owned(),
    };
    let browser = Chromium::open(&watch)?;
    // In the middle of the job.
    std::thread::sleep(Duration::from_secs(2));
    node.kill_9()?;
    node.restart()?;
    let pages = browser.finish()?;
    eprintln!("{} reconnects, {} recovered", pages[0].reconnects, pages[0].recovered);
    pages[0].check(100, JOB)?;
    ensure!(pages[0].reconnects >= 1, "the page did not notice that its node was killed");
    Ok(())
}

/// The page's own counters count: a backend that skips, repeats and swaps steps is found out.
#[test]
fn steps_that_are_lost_doubled_or_swapped_are_counted() -> Result<()> {
    let output = output_dir("browser-counters")?;
    let node = Node::start(Options::dev("node-1", "memory:", &output))?;
    for step in [1, 2, 2, 4, 3, 6] {
        let data = format!(r#"{{"channel":"progress:job-bad","data":{{"step":{step},"total":6,"message":"bad"}}}}"#);
        let response = post(node.port(), "/api/publish", &data)?;
        ensure!(response.contains("offset"), "{response}");
    }
    let watch = Watch {
        pages: vec![page("page", format!("{}/?job=job-bad", node.url()), false)],
        steps: 6,
        seconds: 20,
        screenshot: output.join("bad").to_string_lossy().into_owned(),
    };
    let pages = Chromium::open(&watch)?.finish()?;
    let job = &pages[0].jobs["job-bad"];
    ensure!(job.steps == [1, 2, 2, 4, 3, 6], "{job:?}");
    ensure!((job.lost, job.duplicated, job.reordered) == (1, 1, 1), "{job:?}");
    ensure!(pages[0].violations == 3 && pages[0].check(6, Duration::ZERO).is_err(), "{:?}", pages[0]);
    Ok(())
}

/// The page, its scripts and what is not there.
#[test]
fn the_page_is_served_with_its_scripts() -> Result<()> {
    let output = output_dir("browser-assets")?;
    let node = Node::start(Options::dev("node-1", "memory:", &output))?;
    let page = get(node.port(), "/")?;
    ensure!(page.starts_with("HTTP/1.1 200 ") && page.contains("text/html"), "{page}");
    let script = page.split('"').find(|part| part.starts_with("/assets/") && part.ends_with(".js"));
    let Some(script) = script else { anyhow::bail!("the page loads no script: it was not built\n{page}") };
    let response = get(node.port(), script)?;
    ensure!(response.starts_with("HTTP/1.1 200 ") && response.contains("immutable"), "{script}: {}", &response[..200]);
    ensure!(get(node.port(), "/assets/../Cargo.toml")?.starts_with("HTTP/1.1 404 "), "outside of the page");
    Ok(())
}
