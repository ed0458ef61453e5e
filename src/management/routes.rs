//! All resources: one line each. A segment in braces is a name; the first line that fits a path
//! counts.
//!
//! May import every file of this folder that answers something.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use hyper::Method;

use super::access::Right;
use super::app::App;
use super::reply::{Problem, Reply};
use super::request::Request;
use super::{
    channels, connections, definitions, health, limits, metrics, nodes, overview, parameters,
    permissions, topic_permissions, users, vhosts, whoami,
};

/// Octets of a body, unless the resource takes more.
const BODY_BYTES: usize = 64 * 1024;
/// Octets of a file of definitions.
const FILE_BYTES: usize = 20 * 1024 * 1024;

/// What becomes of a request.
pub(super) type Answer = Result<Reply, Problem>;

type Answering = Pin<Box<dyn Future<Output = Answer>>>;

/// What a resource does when it is asked by one method.
#[derive(Debug, Clone, Copy)]
pub(super) struct Action {
    /// What the user must have. More may be asked for by the resource itself.
    pub(super) right: Right,
    /// Octets of a body.
    pub(super) body_bytes_max: usize,
    /// Answers.
    pub(super) run: fn(Rc<App>, Request) -> Answering,
}

/// A resource.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    /// Where it is.
    pub(super) path: &'static str,
    get: Option<Action>,
    put: Option<Action>,
    post: Option<Action>,
    delete: Option<Action>,
}

impl Route {
    const fn at(path: &'static str) -> Self {
        Self { path, get: None, put: None, post: None, delete: None }
    }

    const fn get(mut self, action: Action) -> Self {
        self.get = Some(action);
        self
    }

    const fn put(mut self, action: Action) -> Self {
        self.put = Some(action);
        self
    }

    const fn post(mut self, action: Action) -> Self {
        self.post = Some(action);
        self
    }

    const fn delete(mut self, action: Action) -> Self {
        self.delete = Some(action);
        self
    }

    /// What it does when asked so.
    pub(super) fn action(&self, method: &Method) -> Option<&Action> {
        match *method {
            Method::GET | Method::HEAD => self.get.as_ref(),
            Method::PUT => self.put.as_ref(),
            Method::POST => self.post.as_ref(),
            Method::DELETE => self.delete.as_ref(),
            _ => None,
        }
    }

    /// The methods that it knows, for whoever used another.
    pub(super) fn methods(&self) -> String {
        let known = [
            ("GET, HEAD", self.get.is_some()),
            ("PUT", self.put.is_some()),
            ("POST", self.post.is_some()),
            ("DELETE", self.delete.is_some()),
        ];
        let known = known.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name);
        known.collect::<Vec<_>>().join(", ")
    }

    /// The names in a path, if it is this one's.
    fn names(&self, segments: &[String]) -> Option<Vec<String>> {
        let own = self.path.trim_start_matches('/').split('/');
        if own.clone().count() != segments.len() {
            return None;
        }
        let mut names = Vec::new();
        for (own, segment) in own.zip(segments) {
            if own.starts_with('{') {
                names.push(segment.clone());
            } else if own != segment {
                return None;
            }
        }
        Some(names)
    }
}

/// The resource at a path and the names in it.
pub(super) fn find(segments: &[String]) -> Option<(&'static Route, Vec<String>)> {
    ROUTES.iter().find_map(|route| Some((route, route.names(segments)?)))
}

macro_rules! action {
    ($right:ident, $($run:ident)::+) => {
        action!($right, $($run)::+, BODY_BYTES)
    };
    ($right:ident, $($run:ident)::+, $bytes:expr) => {
        Action {
            right: Right::$right,
            body_bytes_max: $bytes,
            run: |app, request| Box::pin($($run)::+(app, request)),
        }
    };
}

/// See the module.
#[rustfmt::skip]
pub(super) const ROUTES: &[Route] = &[
    Route::at("/health").get(action!(Nobody, health::alive)),
    Route::at("/metrics").get(action!(Monitoring, metrics::aggregated)),
    Route::at("/metrics/detailed").get(action!(Monitoring, metrics::detailed)),
    Route::at("/api/overview").get(action!(Management, overview::get)),
    Route::at("/api/whoami").get(action!(Management, whoami::get)),
    Route::at("/api/extensions").get(action!(Management, overview::extensions)),
    Route::at("/api/cluster-name").get(action!(Management, overview::cluster_name)).put(action!(Administrator, overview::name_cluster)),
    Route::at("/api/auth/hash_password/{password}").get(action!(Management, users::hash_password)),
    Route::at("/api/auth/hash_password").put(action!(Management, users::hash_password)),
    Route::at("/api/nodes").get(action!(Monitoring, nodes::list)),
    Route::at("/api/nodes/{node}").get(action!(Monitoring, nodes::get)),
    Route::at("/api/connections").get(action!(Management, connections::list)),
    Route::at("/api/connections/username/{user}").get(action!(Management, connections::of_user)).delete(action!(Management, connections::close_of_user)),
    Route::at("/api/connections/{name}").get(action!(Management, connections::get)).delete(action!(Management, connections::close)),
    Route::at("/api/connections/{name}/channels").get(action!(Management, channels::of_connection)),
    Route::at("/api/channels").get(action!(Management, channels::list)),
    Route::at("/api/channels/{name}").get(action!(Management, channels::get)),
    Route::at("/api/vhosts").get(action!(Management, vhosts::list)),
    Route::at("/api/vhosts/{vhost}").get(action!(Management, vhosts::get)).put(action!(Administrator, vhosts::put)).delete(action!(Administrator, vhosts::delete)),
    Route::at("/api/vhosts/{vhost}/deletion/protection").post(action!(Administrator, vhosts::lock)).delete(action!(Administrator, vhosts::unlock)),
    Route::at("/api/vhosts/{vhost}/permissions").get(action!(Administrator, permissions::of_vhost)),
    Route::at("/api/vhosts/{vhost}/topic-permissions").get(action!(Administrator, topic_permissions::of_vhost)),
    Route::at("/api/vhosts/{vhost}/connections").get(action!(Management, connections::of_vhost)),
    Route::at("/api/vhosts/{vhost}/channels").get(action!(Management, channels::of_vhost)),
    Route::at("/api/vhost-limits").get(action!(Management, limits::vhosts)),
    Route::at("/api/vhost-limits/{vhost}").get(action!(Management, limits::vhost)),
    Route::at("/api/vhost-limits/{vhost}/{limit}").put(action!(Administrator, limits::put_vhost)).delete(action!(Administrator, limits::delete_vhost)),
    Route::at("/api/user-limits").get(action!(Management, limits::users)),
    Route::at("/api/user-limits/{user}").get(action!(Management, limits::user)),
    Route::at("/api/user-limits/{user}/{limit}").put(action!(Administrator, limits::put_user)).delete(action!(Administrator, limits::delete_user)),
    Route::at("/api/users").get(action!(Administrator, users::list)),
    Route::at("/api/users/without-permissions").get(action!(Administrator, users::without_permissions)),
    Route::at("/api/users/bulk-delete").post(action!(Administrator, users::bulk_delete)),
    Route::at("/api/users/{user}").get(action!(Administrator, users::get)).put(action!(Administrator, users::put)).delete(action!(Administrator, users::delete)),
    Route::at("/api/users/{user}/permissions").get(action!(Management, permissions::of_user)),
    Route::at("/api/users/{user}/topic-permissions").get(action!(Management, topic_permissions::of_user)),
    Route::at("/api/permissions").get(action!(Administrator, permissions::list)),
    Route::at("/api/permissions/{vhost}/{user}").get(action!(Administrator, permissions::get)).put(action!(Administrator, permissions::put)).delete(action!(Administrator, permissions::delete)),
    Route::at("/api/topic-permissions").get(action!(Administrator, topic_permissions::list)),
    Route::at("/api/topic-permissions/{vhost}/{user}").get(action!(Administrator, topic_permissions::get)).put(action!(Administrator, topic_permissions::put)).delete(action!(Administrator, topic_permissions::delete)),
    Route::at("/api/global-parameters").get(action!(Management, parameters::list)),
    Route::at("/api/global-parameters/{name}").get(action!(Management, parameters::get)).put(action!(Administrator, parameters::put)).delete(action!(Administrator, parameters::delete)),
    Route::at("/api/definitions").get(action!(Administrator, definitions::get)).post(action!(Administrator, definitions::post, FILE_BYTES)),
    Route::at("/api/definitions/{vhost}").get(action!(Administrator, definitions::get_vhost)).post(action!(Administrator, definitions::post_vhost, FILE_BYTES)),
    Route::at("/api/aliveness-test/{vhost}").get(action!(Management, health::aliveness)),
    Route::at("/api/health/checks/alarms").get(action!(Management, health::alarms)),
    Route::at("/api/health/checks/local-alarms").get(action!(Management, health::alarms)),
    Route::at("/api/health/checks/port-listener/{port}").get(action!(Management, health::port_listener)),
    Route::at("/api/health/checks/protocol-listener/{protocol}").get(action!(Management, health::protocol_listener)),
    Route::at("/api/health/checks/virtual-hosts").get(action!(Management, health::virtual_hosts)),
    Route::at("/api/health/checks/certificate-expiration/{within}/{unit}").get(action!(Management, health::certificate_expiration)),
    Route::at("/api/health/checks/node-is-quorum-critical").get(action!(Management, health::fine)),
    Route::at("/api/health/checks/is-in-service").get(action!(Management, health::ready)),
    Route::at("/api/health/checks/ready-to-serve-clients").get(action!(Management, health::ready)),
    Route::at("/api/health/checks/below-node-connection-limit").get(action!(Management, health::below_connection_limit)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::management::request::segments;

    #[test]
    fn each_path_has_one_resource_and_the_names_come_in_order() {
        for (place, route) in ROUTES.iter().enumerate() {
            let own = segments(route.path).unwrap();
            let (found, _) = find(&own).unwrap();
            assert_eq!(found.path, route.path, "{place} is behind another that takes its place");
            assert!(!route.methods().is_empty());
        }
        let (route, names) = find(&segments("/api/permissions/%2F/a%2Fb").unwrap()).unwrap();
        assert_eq!(route.path, "/api/permissions/{vhost}/{user}");
        assert_eq!(names, ["/", "a/b"]);
        assert_eq!(find(&segments("/api/users/bulk-delete").unwrap()).unwrap().0.methods(), "POST");
        assert!(find(&segments("/api/nothing").unwrap()).is_none());
    }

    /// reliability.md row 96: whatever changes something that is not the user's own asks for an
    /// administrator.
    #[test]
    fn only_administrators_change_what_is_everybodys() {
        let own = ["/api/connections/{name}", "/api/connections/username/{user}"];
        for route in ROUTES.iter().filter(|route| !own.contains(&route.path)) {
            for method in [Method::PUT, Method::POST, Method::DELETE] {
                let Some(action) = route.action(&method) else { continue };
                let is_harmless = route.path == "/api/auth/hash_password";
                assert!(action.right == Right::Administrator || is_harmless, "{}", route.path);
            }
        }
    }
}
