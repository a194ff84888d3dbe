//! A node of Kubernetes with real containers: containerd, kubelet, kube-proxy, a scheduler and DNS, over the control plane.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tombolo_tests::child::Child;

use crate::plane::Plane;
use crate::sandbox;

/// Of the node, and of the API server; nobody outside sees it.
pub const ADDRESS: &str = "10.250.0.1";
/// Its name; certificates have it, too.
const NAME: &str = "node";
/// The architecture of its images, as registries name it.
pub const ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
const PAUSE: &str = "localhost/pause:1";
const SOCKET: &str = "/run/containerd/containerd.sock";

/// Looks whether what a node needs beside a control plane is among the assets.
///
/// # Errors
/// A sentence that says how to get it.
pub fn assets(folder: &Path) -> Result<(), String> {
    for program in ["kubelet", "kube-proxy", "kube-scheduler", "coredns"] {
        if !folder.join(program).is_file() {
            return Err(format!("{program} is not in {}: build it once with `make node`", folder.display()));
        }
    }
    Ok(())
}

/// The running node.
pub struct Node {
    /// Its control plane.
    pub plane: Plane,
    /// kubeconfig of an administrator.
    pub kubeconfig: PathBuf,
    folder: PathBuf,
    containerd: Child,
}

// === impl Node ===

impl Node {
    /// Starts all, and waits until the node is ready. `group` is a control group that it may use.
    pub async fn start(assets: &Path, folder: &Path, group: &str) -> Self {
        let plane = Plane::start_at(assets, ADDRESS).await;
        let kubeconfig = plane.kubeconfig_of("admin");
        let containerd = containerd(folder).await;
        let mut node = Self { plane, kubeconfig, folder: folder.to_owned(), containerd };
        node.scheduler(assets);
        node.proxy(assets);
        node.dns(assets);
        node.pause_image();
        node.kubelet(assets, group);
        let begun = Instant::now();
        while !node.kubectl(&["get", "node", NAME]).is_ok_and(|said| said.contains(" Ready")) {
            assert!(begun.elapsed() < Duration::from_secs(120), "the node is not ready:\n{}", node.log("kubelet"));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        node
    }

    /// What kubectl prints.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.tool("kubectl", arguments)
    }

    /// What a program prints that finds this cluster by `KUBECONFIG`.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn tool(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = crate::tools::command(program);
        command.env("KUBECONFIG", &self.kubeconfig).current_dir(crate::house::root()).args(arguments);
        let output = command.output().map_err(|error| format!("{program} does not start: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(said) } else { Err(said + &String::from_utf8_lossy(&output.stderr)) }
    }

    /// Takes an image from an archive; `name` is without its tag.
    pub fn import(&self, name: &str, archive: &Path) {
        let archive = archive.display().to_string();
        sandbox::command("ctr", &["-a", SOCKET, "-n", "k8s.io", "images", "import", "--base-name", name, &archive]);
    }

    /// The last lines that a program of the node logged.
    pub fn log(&self, program: &str) -> String {
        let text = match program {
            "containerd" => self.containerd.output(),
            _ => fs::read_to_string(self.plane.folder().join(format!("{program}.log"))).unwrap_or_default(),
        };
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn scheduler(&mut self, assets: &Path) {
        let kubeconfig = self.plane.kubeconfig_of("scheduler");
        self.plane.run(assets, "kube-scheduler", |command, _| {
            command.arg(flag("kubeconfig", &kubeconfig)).arg(flag("authentication-kubeconfig", &kubeconfig));
            command.arg(flag("authorization-kubeconfig", &kubeconfig)).arg("--leader-elect=false");
        });
    }

    fn proxy(&mut self, assets: &Path) {
        let bind = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "node-proxier"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier"},
            "subjects": [{"kind": "User", "name": "system:kube-proxy", "apiGroup": "rbac.authorization.k8s.io"}],
        });
        let bind = self.plane.write("node-proxier.json", &bind.to_string());
        self.kubectl(&["apply", "-f", &bind.display().to_string()]).expect("a role is bound");
        let config = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
            "mode": "iptables", "clusterCIDR": "10.244.0.0/16", "hostnameOverride": NAME,
            "clientConnection": {"kubeconfig": self.plane.kubeconfig_of("proxy")}, "conntrack": {"maxPerCore": 0},
        });
        let config = self.plane.write("proxy.yaml", &config.to_string());
        self.plane.run(assets, "kube-proxy", |command, _| {
            command.arg(flag("config", &config));
        });
    }

    fn dns(&mut self, assets: &Path) {
        let corefile = format!(
            "cluster.local:53 in-addr.arpa:53 {{\n  bind {ADDRESS}\n  errors\n  kubernetes cluster.local in-addr.arpa {{\n    kubeconfig {}\n    ttl 1\n  }}\n}}\n",
            self.kubeconfig.display()
        );
        let corefile = self.plane.write("Corefile", &corefile);
        self.plane.run(assets, "coredns", |command, _| {
            command.arg("-conf").arg(corefile);
        });
    }

    fn pause_image(&self) {
        let context = self.folder.join("pause");
        fs::create_dir_all(&context).expect("a folder");
        let (source, program) = (crate::house::root().join("tests/kube/node"), context.join("pause"));
        let text = |path: &Path| path.display().to_string();
        sandbox::command("cc", &["-O2", "-static", "-o", &text(&program), &text(&source.join("pause.c"))]);
        let archive = self.folder.join("pause.tar");
        let pack = text(&crate::house::root().join("images/pack.sh"));
        let file = text(&source.join("pause.Containerfile"));
        sandbox::command(&pack, &[&file, &text(&context), ARCH, PAUSE, &text(&archive)]);
        self.import(PAUSE.split(':').next().expect("a name"), &archive);
    }

    fn kubelet(&mut self, assets: &Path, group: &str) {
        let file = |name: &str| self.plane.folder().join(name);
        let resolver = self.plane.write("resolv.conf", "nameserver 127.0.0.1\n");
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "failCgroupV1": false, "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{group}"),
            "enforceNodeAllocatable": [], "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
            "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true},
                               "x509": {"clientCAFile": file("ca.crt")}},
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": file("node.crt"), "tlsPrivateKeyFile": file("node.key"),
            "clusterDNS": [ADDRESS], "clusterDomain": "cluster.local", "resolvConf": resolver, "address": ADDRESS,
            "failSwapOn": false, "evictionHard": {"memory.available": "100Mi"},
            // Nothing of the machine is full by what we do.
            "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
        });
        let config = self.plane.write("kubelet.yaml", &config.to_string());
        let (kubeconfig, root) = (self.plane.kubeconfig_of("node"), self.folder.join("kubelet"));
        self.plane.run(assets, "kubelet", |command, _| {
            command.arg(flag("config", &config)).arg(flag("kubeconfig", &kubeconfig)).arg(flag("root-dir", &root));
            command.args([&format!("--hostname-override={NAME}"), &format!("--node-ip={ADDRESS}")]);
        });
    }
}

async fn containerd(folder: &Path) -> Child {
    let network = json!({
        "cniVersion": "0.4.0", "name": "pods",
        "plugins": [
            // Each pod is routed, so that Services between pods of one node need no bridge filter.
            {"type": "ptp", "ipMasq": true, "mtu": 1500,
             "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    let networks = folder.join("networks");
    fs::create_dir_all(&networks).expect("a folder");
    fs::write(networks.join("10-pods.conflist"), network.to_string()).expect("written");
    let plugins = sandbox::plugins().expect("looked at before").display().to_string();
    let config = format!(
        "version = 2\nroot = \"{root}\"\nstate = \"/run/containerd\"\n[grpc]\naddress = \"{SOCKET}\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"{PAUSE}\"\n\
         # Root of a virtual machine may lack CAP_SYS_RESOURCE.\nrestrict_oom_score_adj = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"{plugins}\"\nconf_dir = \"{networks}\"\n",
        root = folder.join("containerd").display(),
        networks = networks.display(),
    );
    let file = folder.join("containerd.toml");
    fs::write(&file, config).expect("written");
    let mut command = Command::new("containerd");
    command.arg("--config").arg(file);
    let child = Child::spawn("containerd", command, folder.join("containerd.log"));
    let begun = Instant::now();
    while !Path::new(SOCKET).exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "containerd does not start:\n{}", child.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    child
}

/// Sends SIGKILL to the broker of a pod, as the kernel does when memory is short.
pub fn kill_broker_of(pod: &str) {
    let variable = format!("POD_NAME={pod}");
    let is_its = |folder: &Path| {
        let variables = fs::read(folder.join("environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|found| found == variable.as_bytes())
    };
    let processes = fs::read_dir("/proc").expect("processes of the namespace").flatten();
    let ids = processes.filter_map(|entry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        is_its(&entry.path()).then(|| Pid::from_raw(id))?
    });
    let ids: Vec<_> = ids.collect();
    assert_eq!(ids.len(), 1, "{pod} has one process");
    kill_process(ids[0], Signal::KILL).expect("it runs");
}

fn flag(name: &str, file: &Path) -> String {
    format!("--{name}={}", file.display())
}
