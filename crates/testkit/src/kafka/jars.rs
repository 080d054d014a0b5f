//! Kafka's jars from Maven Central, and the Java command lines over them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::install::{ensure_program, tools_dir};
use crate::process::run;

/// The version that the tests run against.
pub const VERSION: &str = "4.3.1";
const LOG4J: &str = "2.24.3";

const LOGGING: &str = "\
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.target = SYSTEM_ERR
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1} %m%n
logger.ready.name = kafka.server.KafkaRaftServer
logger.ready.level = info
";

/// A folder with Kafka's jars.
#[derive(Clone, Debug)]
pub struct Jars {
    dir: PathBuf,
    java: PathBuf,
}

/// How the virtual machine is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Jit {
    /// Starts quickly and stays small: for functional tests.
    #[default]
    Quick,
    /// The whole compiler and G1: for measurements.
    Full,
}

impl Jars {
    /// Finds the jars in the tools folder, or downloads them (55 MB, a few seconds).
    ///
    /// # Errors
    /// When Java or Maven is missing and cannot be installed, or the download fails.
    pub fn ensure() -> Result<Self> {
        let java = ensure_program("java", "openjdk-17-jre-headless").context("Kafka needs Java 17")?;
        let dir = tools_dir().join(format!("kafka-{VERSION}"));
        if !dir.join("lib").is_dir() {
            download(&dir)?;
        }
        Ok(Self { dir: dir.canonicalize()?, java })
    }

    /// A command that runs `class`.
    pub(crate) fn command(&self, class: &str, jit: Jit) -> Command {
        let mut command = Command::new(&self.java);
        match jit {
            Jit::Quick => command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]),
            Jit::Full => command.arg("-Xmx512m"),
        };
        command
            .arg(format!("-Dlog4j2.configurationFile={}", self.dir.join("log4j2.properties").display()))
            .arg("-cp")
            .arg(self.dir.join("lib/*"))
            .arg(class);
        command
    }
}

/// Into a folder beside the target that is then renamed, so that a half download is never taken for a whole one.
fn download(dir: &Path) -> Result<()> {
    let maven = ensure_program("mvn", "maven").context("Kafka's jars come through Maven")?;
    let parent = dir.parent().context("tools folder")?;
    std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    let work = tempfile::Builder::new().prefix(".kafka-").tempdir_in(parent)?;
    std::fs::write(work.path().join("pom.xml"), pom())?;
    std::fs::write(work.path().join("log4j2.properties"), LOGGING)?;
    let goal = ["-q", "-B", "-ntp", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=lib"];
    run(Command::new(maven).args(goal).current_dir(work.path())).context("download Kafka's jars")?;
    let work = work.keep();
    if std::fs::rename(&work, dir).is_err() {
        // Somebody else was quicker; theirs is as good.
        std::fs::remove_dir_all(&work)?;
    }
    Ok(())
}

fn pom() -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        )
    };
    [
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n<modelVersion>4.0.0</modelVersion>\n\
         <groupId>tidegate</groupId><artifactId>kafka-jars</artifactId><version>1</version><packaging>pom</packaging>\n\
         <dependencies>\n"
            .to_owned(),
        dependency("org.apache.kafka", "kafka_2.13", VERSION),
        dependency("org.apache.kafka", "kafka-tools", VERSION),
        dependency("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J),
        dependency("org.apache.logging.log4j", "log4j-1.2-api", LOG4J),
        "</dependencies>\n</project>\n".to_owned(),
    ]
    .concat()
}
