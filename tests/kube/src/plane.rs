//! A control plane of its own: etcd, kube-apiserver and kube-controller-manager on free ports of this machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use tombolo_tests::child::Child;
use tombolo_tests::ports;

/// Version of Kubernetes that `make kube` builds.
pub const VERSION: &str = "1.34.4";
/// How long a program of it may take to start on a busy machine.
const START_MAX: Duration = Duration::from_secs(120);
/// The file in the folder with what operators asked for.
pub const AUDIT_LOG: &str = "audit.log";
/// What ServiceAccounts ask for, apart from those of controllers, without any content.
const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- {level: None, userGroups: ['system:serviceaccounts:kube-system']}
- {level: Metadata, userGroups: ['system:serviceaccounts']}
- {level: None}
";

/// The running control plane. Its processes end and its files go when it is dropped.
pub struct Plane {
    folder: TempDir,
    /// Where the API server listens.
    address: String,
    port: u16,
    /// In the order in which they are stopped.
    processes: Vec<Child>,
}

/// Where etcd, kube-apiserver and kube-controller-manager are.
///
/// # Errors
/// A sentence that says how to get them.
pub fn assets() -> Result<PathBuf, String> {
    let folder = match std::env::var_os("KUBEBUILDER_ASSETS") {
        Some(folder) => PathBuf::from(folder),
        None => cache().ok_or("neither XDG_CACHE_HOME nor HOME is set")?,
    };
    for program in ["etcd", "kube-apiserver", "kube-controller-manager"] {
        if !folder.join(program).is_file() {
            return Err(format!(
                "{program} is not in {}: build it once with `make kube`, or set KUBEBUILDER_ASSETS to a folder that has it",
                folder.display()
            ));
        }
    }
    Ok(folder)
}

/// Where `make kube` puts what it builds.
pub fn cache() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let own = || std::env::var_os("HOME").map(|user| PathBuf::from(user).join(".cache"));
    Some(cache.or_else(own)?.join(format!("tombolo/kube-{VERSION}")))
}

// === impl Plane ===

impl Plane {
    /// Starts all for processes of this machine, and waits until the API server is ready.
    pub async fn start(assets: &Path) -> Self {
        Self::start_at(assets, "127.0.0.1").await
    }

    /// Starts all at an address of this machine; pods can't reach a loopback address.
    pub async fn start_at(assets: &Path, address: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("tombolo-kube-").tempdir().expect("a folder");
        certificates(folder.path(), address);
        let [etcd, peer, port] = [ports::free(), ports::free(), ports::free()];
        let mut plane = Self { folder, address: address.to_owned(), port, processes: Vec::new() };
        let (client, peer) = (format!("http://127.0.0.1:{etcd}"), format!("http://127.0.0.1:{peer}"));
        plane.run(assets, "etcd", |command, folder| {
            command.arg("--data-dir").arg(folder.join("etcd")).args(["--unsafe-no-fsync", "--log-level", "error"]);
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.arg(format!("--initial-cluster=default={peer}"));
        });
        plane.write("audit.yaml", AUDIT_POLICY);
        plane.run(assets, "kube-apiserver", |command, folder| {
            let file = |name: &str| folder.join(name).display().to_string();
            command.args([
                format!("--etcd-servers={client}"),
                format!("--secure-port={port}"),
                format!("--bind-address={address}"),
                "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                format!("--tls-cert-file={}", file("apiserver.crt")),
                format!("--tls-private-key-file={}", file("apiserver.key")),
                format!("--client-ca-file={}", file("ca.crt")),
                "--authorization-mode=Node,RBAC".to_owned(),
                format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
                format!("--kubelet-client-key={}", file("kubelet-client.key")),
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={}", file("accounts.pub")),
                format!("--service-account-signing-key-file={}", file("accounts.key")),
                // So that it passes on what a test serves.
                format!("--requestheader-client-ca-file={}", file("ca.crt")),
                "--requestheader-allowed-names=front-proxy".to_owned(),
                "--requestheader-username-headers=X-Remote-User".to_owned(),
                "--requestheader-group-headers=X-Remote-Group".to_owned(),
                "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
                format!("--proxy-client-cert-file={}", file("front-proxy.crt")),
                format!("--proxy-client-key-file={}", file("front-proxy.key")),
                format!("--audit-policy-file={}", file("audit.yaml")),
                format!("--audit-log-path={}", file(AUDIT_LOG)),
                // Without it, nobody would see whether the operator may block the removal of an owner.
                "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
            ]);
        });
        plane.ready().await;
        plane.kubeconfig_of("kcm");
        plane.run(assets, "kube-controller-manager", |command, folder| {
            let file = |name: &str| folder.join(name).display().to_string();
            command.args([
                format!("--kubeconfig={}", file("kcm.kubeconfig")),
                "--secure-port=0".to_owned(),
                "--leader-elect=false".to_owned(),
                "--use-service-account-credentials=true".to_owned(),
                format!("--service-account-private-key-file={}", file("accounts.key")),
                format!("--root-ca-file={}", file("ca.crt")),
                // It removes the pods of a node that is no object, and the kubelet of these tests is none.
                "--controllers=*,-pod-garbage-collector-controller".to_owned(),
                // A burst of many small objects is what these tests make.
                "--kube-api-qps=500".to_owned(),
                "--kube-api-burst=1000".to_owned(),
                "--concurrent-statefulset-syncs=10".to_owned(),
                "--horizontal-pod-autoscaler-sync-period=1s".to_owned(),
                // The kubelet of the tests has no Node, and every minute the pods of what is none would be removed.
                "--controllers=*,-pod-garbage-collector-controller".to_owned(),
            ]);
        });
        plane
    }

    /// A folder that goes with the control plane.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client with every right.
    pub async fn admin(&self) -> Client {
        client(&self.kubeconfig(&self.identity("admin"))).await
    }

    /// The kubeconfig of who has a token.
    pub fn kubeconfig_of_token(&self, token: &str) -> String {
        self.kubeconfig(&json!({"token": token}))
    }

    /// Writes the kubeconfig of one of the identities that have a certificate.
    pub fn kubeconfig_of(&self, name: &str) -> PathBuf {
        self.write(&format!("{name}.kubeconfig"), &self.kubeconfig(&self.identity(name)))
    }

    fn identity(&self, name: &str) -> serde_json::Value {
        let file = |end: &str| self.folder().join(format!("{name}.{end}"));
        json!({"client-certificate": file("crt"), "client-key": file("key")})
    }

    fn kubeconfig(&self, user: &serde_json::Value) -> String {
        let cluster = json!({
            "server": format!("https://{}:{}", self.address, self.port),
            "certificate-authority": self.folder().join("ca.crt"),
        });
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}], "users": [{"name": "it", "user": user}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        });
        config.to_string()
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Starts one more program of the assets; it ends before those that were started earlier.
    pub fn run(&mut self, assets: &Path, program: &str, arguments: impl FnOnce(&mut Command, &Path)) {
        let mut command = Command::new(assets.join(program));
        arguments(&mut command, self.folder.path());
        let log = self.folder().join(format!("{program}.log"));
        self.processes.insert(0, Child::spawn(program, command, log));
    }

    async fn ready(&mut self) {
        let (client, begun) = (self.admin().await, Instant::now());
        loop {
            for process in &mut self.processes {
                assert!(process.ended().is_none(), "the control plane ended:\n{}", process.output());
            }
            // The last of what the API server makes for itself when it starts.
            let roles = Api::<ClusterRole>::all(client.clone());
            if roles.get("system:controller:statefulset-controller").await.is_ok() {
                return;
            }
            assert!(begun.elapsed() < START_MAX, "the API server is not ready after {START_MAX:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// A client from the text of a kubeconfig that sends each request once.
pub async fn client_without_retries(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a config");
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

/// A client from the text of a kubeconfig.
pub async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config");
    Client::try_from(config).expect("a client")
}

fn certificates(folder: &Path, address: &str) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("valid");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
    write("ca.crt", &authority.pem());
    let accounts = KeyPair::generate().expect("a key");
    write("accounts.key", &accounts.serialize_pem());
    write("accounts.pub", &accounts.public_key_pem());
    let identities = [
        ("apiserver", "kube-apiserver", None),
        ("admin", "admin", Some("system:masters")),
        ("front-proxy", "front-proxy", None),
        ("kcm", "system:kube-controller-manager", None),
        ("kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters")),
        ("node", "system:node:node", Some("system:nodes")),
        ("scheduler", "system:kube-scheduler", None),
        ("proxy", "system:kube-proxy", None),
    ];
    for (name, common_name, group) in identities {
        // The last is the first address of the Services, which the API server takes for itself.
        let hosts = ["localhost", "kubernetes.default.svc", address, "10.96.0.1"].map(str::to_owned).to_vec();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.distinguished_name.push(DnType::CommonName, common_name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        write(&format!("{name}.crt"), &params.signed_by(&key, &authority).expect("valid").pem());
        write(&format!("{name}.key"), &key.serialize_pem());
    }
}
