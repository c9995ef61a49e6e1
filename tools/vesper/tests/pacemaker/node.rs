// SPDX-License-Identifier: MIT OR Apache-2.0
//! A node of a cluster, in a folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What an action came to.
#[derive(Debug)]
pub struct Run {
    pub status: i32,
    /// What it printed, the reason it gave included.
    pub said: String,
    pub took: Duration,
}

impl Run {
    fn of(command: &mut Command) -> Self {
        let from = Instant::now();
        let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8([stdout, stderr].concat()).unwrap();
        Self { status: status.code().expect("it exits"), said, took: from.elapsed() }
    }

    /// What Pacemaker shows as the reason.
    pub fn reason(&self) -> &str {
        self.said.lines().rev().find_map(|line| line.strip_prefix("ocf-exit-reason:")).unwrap_or_default()
    }
}

/// The folder, and what is in it.
pub struct Node {
    dir: TempDir,
}

impl Node {
    /// With a stand-in for each program that is asked, and no guests.
    pub fn new() -> Self {
        let node = Self { dir: tempfile::tempdir().unwrap() };
        // ocf-tester looks at an agent as nobody.
        fs::set_permissions(node.dir.path(), Permissions::from_mode(0o755)).unwrap();
        for dir in ["bin", "fake", "tmp", "ocf/lib/vesper", "ocf/resource.d/vesper"] {
            fs::create_dir_all(node.path(dir)).unwrap();
        }
        for program in ["xl", "vesper"] {
            node.program(program, &fs::read_to_string(source(&format!("tests/{program}"))).unwrap());
        }
        for agent in ["guest", "service"] {
            let text = fs::read_to_string(source(agent)).unwrap().replace("@VERSION@", "0.1.0");
            node.file(&format!("ocf/resource.d/vesper/{agent}"), &text, 0o755);
        }
        fs::copy(source("vesper.sh"), node.path("ocf/lib/vesper/vesper.sh")).unwrap();
        let heartbeat = node.path("ocf/lib/heartbeat");
        match std::env::var_os("VESPER_OCF") {
            Some(root) => symlink(Path::new(&root).join("usr/lib/ocf/lib/heartbeat"), heartbeat).unwrap(),
            None => {
                fs::create_dir_all(&heartbeat).unwrap();
                fs::copy(source("tests/ocf-shellfuncs"), heartbeat.join("ocf-shellfuncs")).unwrap();
            }
        }
        node.file("hypervisor", "xen\n", 0o644);
        node.file("web1.cfg", "# a guest\nname = \"web1\"\nmemory = 256\n", 0o644);
        node
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn file(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }

    /// A program in the path.
    pub fn program(&self, name: &str, text: &str) -> String {
        self.file(&format!("bin/{name}"), text, 0o755)
    }

    /// A file of the stand-ins (`tools/pacemaker/tests`): a guest, or what goes wrong.
    pub fn fake(&self, name: &str, text: &str) {
        self.file(&format!("fake/{name}"), &format!("{text}\n"), 0o644);
    }

    pub fn no_fake(&self, name: &str) {
        let _ = fs::remove_file(self.path("fake").join(name));
    }

    /// What `xl` and other stand-ins were told to do, without what they were only asked; then that is forgotten.
    pub fn calls(&self) -> Vec<String> {
        let calls = self.text("fake/.calls");
        self.no_fake(".calls");
        let told =
            |line: &&str| !["vesper ", "xl list", "xl domid "].iter().any(|asks| line.starts_with(asks));
        calls.lines().filter(told).map(|line| line.replace(self.dir.path().to_str().unwrap(), "")).collect()
    }

    /// Anything, in this node's environment.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).env("FAKE", self.path("fake")).env("HA_RSCTMP", self.path("tmp"));
        command.env("VESPER_HYPERVISOR", self.path("hypervisor"));
        command.env("OCF_ROOT", self.path("ocf")).env_remove("OCF_FUNCTIONS_DIR").env_remove("VESPER_OCF");
        command
    }

    pub fn run(&self, program: &Path, environment: &[(&str, &str)]) -> Run {
        Run::of(self.command(program).envs(environment.iter().copied()))
    }

    /// An agent's action as Pacemaker runs it, a monitor as a recurring one.
    pub fn agent(&self, agent: &str, action: &str, parameters: &[(&str, &str)]) -> Run {
        let mut command = self.command(&self.path("ocf/resource.d/vesper").join(agent));
        command.arg(action).env("OCF_RESOURCE_INSTANCE", "vm1").env("OCF_RESKEY_CRM_meta_interval", "10000");
        command.env("OCF_RESKEY_CRM_meta_timeout", "15000").env("OCF_RESKEY_CRM_meta_on_node", "dom0");
        for (name, value) in parameters {
            command.env(format!("OCF_RESKEY_{name}"), value);
        }
        Run::of(&mut command)
    }
}

/// A file of `tools/pacemaker`.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pacemaker").join(name)
}
