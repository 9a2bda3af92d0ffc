//! The gateway's administration socket: one [`Request`] per line in, one [`Reply`] out, which may take
//! several lines.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vestibule_store::local_socket::{self, Listener, MAX_ANSWER, SocketError};

use super::{AdminError, Answer, Reply, Request};

/// How long the running role may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a request over the socket has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The socket: [`SocketError::NotRunning`] among others.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The role did not do it.
    #[error(transparent)]
    Refused(#[from] AdminError),
    /// The answer is not one that this version understands.
    #[error("the running role answers in a way that this version does not understand; restart it")]
    Unreadable,
}

/// Binds the socket at once and returns the future that serves it until dropped. `handler` carries out a request *and*
/// its effects before it answers.
///
/// Errors: those of [`Listener::bind`].
pub fn serve<H, F>(path: &Path, handler: H) -> Result<impl Future<Output = ()> + Send + 'static, SocketError>
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Answer, AdminError>> + Send + 'static,
{
    let listener = Listener::bind(path)?;
    let handler = Arc::new(handler);
    Ok(listener.serve(move |line| {
        let handler = Arc::clone(&handler);
        async move {
            let result = match serde_json::from_slice::<Request>(&line) {
                Ok(request) => handler(request).await,
                Err(error) => Err(AdminError::invalid(
                    format!("the request is not understood: {error}"),
                    "use the program in the version of the running role",
                )),
            };
            encode(result)
        }
    }))
}

/// Asks the running role.
///
/// Errors: see [`AskError`].
pub async fn ask(path: &Path, request: &Request) -> Result<Answer, AskError> {
    let line = serde_json::to_vec(request).map_err(|_| AskError::Unreadable)?;
    let answer = local_socket::ask(path, &line, PATIENCE).await?;
    let reply: Reply = serde_json::from_slice(&answer).map_err(|_| AskError::Unreadable)?;
    Ok(reply.into_result()?)
}

fn encode(result: Result<Answer, AdminError>) -> Vec<u8> {
    let line = serde_json::to_vec(&Reply::from(result)).unwrap_or_default();
    if (1..=MAX_ANSWER).contains(&line.len()) {
        return line;
    }
    let error = AdminError::invalid("the answer is longer than 64 MiB", "ask for less, e.g. for one user");
    serde_json::to_vec(&Reply::Refused(error)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::admin::AdminErrorKind;
    use crate::admin::request::UserRequest;

    fn root() -> tempfile::TempDir {
        tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap()
    }

    async fn answer(request: Request) -> Result<Answer, AdminError> {
        match request {
            Request::Status => Ok(Answer::Done("x".repeat(MAX_ANSWER))),
            Request::User(UserRequest::Show { name }) => Ok(Answer::Done(name)),
            Request::User(_)
            | Request::Device(_)
            | Request::Invite(_)
            | Request::Service(_)
            | Request::Session(_)
            | Request::Key(_)
            | Request::Audit(_) => Err(AdminError::invalid("no", "ask otherwise")),
        }
    }

    #[tokio::test]
    async fn requests_are_answered_and_refused() {
        let root = root();
        let path = root.path().join("gateway.sock");
        let show = Request::User(UserRequest::Show { name: "zoë\n\"'".to_owned() });
        let nobody = ask(&path, &show).await;
        assert!(matches!(nobody, Err(AskError::Socket(SocketError::NotRunning(_)))), "{nobody:?}");

        let serving = tokio::spawn(serve(&path, answer).unwrap());
        assert_eq!(ask(&path, &show).await, Ok(Answer::Done("zoë\n\"'".to_owned())));
        let refused = ask(&path, &Request::User(UserRequest::List)).await;
        assert!(matches!(refused, Err(AskError::Refused(error)) if error.kind == AdminErrorKind::Invalid));
        let too_long = ask(&path, &Request::Status).await;
        assert!(matches!(too_long, Err(AskError::Refused(error)) if error.message.contains("64 MiB")));
        serving.abort();
    }

    #[tokio::test]
    async fn nonsense_is_refused_with_a_reason() {
        let root = root();
        let path = root.path().join("gateway.sock");
        let serving = tokio::spawn(serve(&path, answer).unwrap());
        for nonsense in [&b"not json"[..], b"", b"{}", br#"{"user":{"show":{"name":"a","more":1}}}"#, b"\xff\xfe"] {
            let line = local_socket::ask(&path, nonsense, PATIENCE).await.unwrap();
            let reply: Reply = serde_json::from_slice(&line).unwrap();
            assert_eq!(reply.into_result().unwrap_err().kind, AdminErrorKind::Invalid);
        }
        serving.abort();
    }
}
