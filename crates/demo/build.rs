//! Builds `web/` with Node into `OUT_DIR` and lists the outcome for `include_bytes!`.
//!
//! Nothing is written outside of `OUT_DIR`. A build is kept until a source or the lock file changes. Without Node, or
//! when its build fails, the crate still builds, with a page that says what is missing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use sha1_smol::Sha1;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // Where the sources are now, not where they were when this program was built: a target folder may serve both.
    let web = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../web");
    println!("cargo:rerun-if-changed=build.rs");
    let sources = list(&web).expect("web/ can be read");
    for dir in folders(&web, &sources) {
        println!("cargo:rerun-if-changed={}", dir.display());
    }
    for file in &sources {
        println!("cargo:rerun-if-changed={}", web.join(file).display());
    }
    let site = out.join("site");
    if let Err(reason) = build(&web, &sources, &out.join("web"), &site) {
        // Tried again by the next build, because this file is never there.
        println!("cargo:rerun-if-changed={}", out.join("retry").display());
        println!("cargo:warning=the demo page is not built: {}", reason.lines().next().unwrap_or_default());
        fallback(&site, &reason).expect("OUT_DIR can be written");
    }
    fs::write(out.join("assets.rs"), table(&site).expect("the built page can be read"))
        .expect("OUT_DIR can be written");
}

/// Builds into `site`, unless what is there came from the same sources.
fn build(web: &Path, sources: &[PathBuf], work: &Path, site: &Path) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let hash = hash(web, sources).map_err(text)?;
    let stamp = site.with_extension("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|built| built == hash) {
        return Ok(());
    }
    // A missing stamp only costs a build.
    let _ = fs::remove_file(&stamp);
    copy(web, sources, work).map_err(text)?;
    // Few and short tries: without a network the rest of the build should not wait for minutes.
    let quick = ["--prefer-offline", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"];
    npm(work, &[&["ci", "--no-audit", "--no-fund", "--loglevel=error"], &quick[..]].concat())?;
    npm(work, &["run", "--silent", "build"])?;
    replace(&work.join("dist"), site).map_err(text)?;
    // 80 MB that no later build reads.
    let _ = fs::remove_dir_all(work.join("node_modules"));
    fs::write(stamp, hash).map_err(text)
}

fn npm(dir: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("npm")
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("npm was not found ({e}); install Node.js 20.19 or newer"))?;
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("npm {} failed: {}\n{}", arguments.join(" "), err.trim(), out.trim()))
}

/// Files under `dir`, relative to it, in order; without what is built or installed.
fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(dir.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true if matches!(path.to_str(), Some("node_modules" | "dist")) => {}
                true => open.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The folders that hold sources: a file that is added or removed changes its folder.
fn folders(web: &Path, sources: &[PathBuf]) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = sources.iter().filter_map(|file| file.parent()).map(|dir| web.join(dir)).collect();
    all.dedup();
    // The root holds node_modules and dist too, which come and go while someone works on the page.
    all.retain(|dir| dir != &web.join(""));
    all
}

fn hash(web: &Path, sources: &[PathBuf]) -> io::Result<String> {
    let mut sha = Sha1::new();
    for file in sources {
        let bytes = fs::read(web.join(file))?;
        sha.update(format!("{} {}\n", file.display(), bytes.len()).as_bytes());
        sha.update(&bytes);
    }
    Ok(sha.digest().to_string())
}

fn copy(web: &Path, sources: &[PathBuf], work: &Path) -> io::Result<()> {
    clear(work)?;
    for file in sources {
        let to = work.join(file);
        fs::create_dir_all(to.parent().expect("a file has a folder"))?;
        fs::copy(web.join(file), to)?;
    }
    Ok(())
}

fn replace(from: &Path, to: &Path) -> io::Result<()> {
    clear(to)?;
    fs::remove_dir(to)?;
    fs::rename(from, to)
}

fn clear(dir: &Path) -> io::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)
}

fn fallback(site: &Path, reason: &str) -> io::Result<()> {
    clear(site)?;
    let reason = reason.replace('&', "&amp;").replace('<', "&lt;");
    fs::write(site.join("index.html"), include_str!("src/missing.html").replace("{reason}", &reason))
}

/// `&[File { path, bytes, etag }, …]` as source text, sorted by path.
fn table(site: &Path) -> io::Result<String> {
    let mut text = String::from("&[\n");
    for file in list(site)? {
        let full = site.join(&file);
        let etag = Sha1::from(fs::read(&full)?).digest().to_string();
        let path = file.to_string_lossy().replace('\\', "/");
        let _ = writeln!(
            text,
            "    File {{ path: {path:?}, bytes: include_bytes!({full:?}), etag: \"\\\"{}\\\"\" }},",
            &etag[..16]
        );
    }
    text.push(']');
    Ok(text)
}
