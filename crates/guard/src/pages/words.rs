//! What the pages say, in each language.

use crate::classify::Refusal;
use hyper::header::{ACCEPT_LANGUAGE, HeaderMap};

/// The fixed words of all pages in one language.
pub(crate) struct Words {
    pub(crate) lang: &'static str,
    pub(crate) skip: &'static str,
    pub(crate) footer: &'static str,
    pub(crate) portal: &'static str,
    pub(crate) no_apps: &'static str,
    pub(crate) sessions: &'static str,
    pub(crate) logical_address: &'static str,
    pub(crate) device: &'static str,
    pub(crate) since: &'static str,
    pub(crate) last_use: &'static str,
    pub(crate) until: &'static str,
    pub(crate) action: &'static str,
    pub(crate) this_one: &'static str,
    pub(crate) sign_off: &'static str,
    pub(crate) sign_in: &'static str,
    pub(crate) sign_in_again: &'static str,
    pub(crate) user_name: &'static str,
    pub(crate) password: &'static str,
    pub(crate) form_kept: &'static str,
    pub(crate) form_waits: Notice,
    pub(crate) send_it: &'static str,
    pub(crate) wrong_password: &'static str,
    pub(crate) wait: &'static str,
    pub(crate) busy: &'static str,
    pub(crate) signed_off: Notice,
    pub(crate) confirm: Notice,
    pub(crate) go_on: &'static str,
    pub(crate) entering: Notice,
    pub(crate) no_script: &'static str,
    pub(crate) done: Notice,
    pub(crate) done_at: &'static str,
    pub(crate) see_result: &'static str,
    pub(crate) do_again: &'static str,
    pub(crate) back_to_app: &'static str,
    pub(crate) ask: &'static str,
    pub(crate) missing: &'static str,
    pub(crate) would_do: &'static str,
    pub(crate) nowhere: Notice,
    refusals: fn(Refusal) -> Notice,
}

/// What happened, what it means, and what to do.
#[derive(Clone, Copy)]
pub(crate) struct Notice {
    pub(crate) title: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) next: &'static str,
}

impl Words {
    /// In the language that the browser prefers among those there are; English else.
    pub(crate) fn of(headers: &HeaderMap) -> &'static Self {
        let wanted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut best = (0.0, &ENGLISH);
        for range in wanted.split(',').take(16) {
            let (tag, quality) = quality_of(range);
            let words = match tag.split('-').next().unwrap_or_default() {
                tag if tag.eq_ignore_ascii_case("ja") => &JAPANESE,
                tag if tag.eq_ignore_ascii_case("en") => &ENGLISH,
                _ => continue,
            };
            if quality > best.0 {
                best = (quality, words);
            }
        }
        best.1
    }

    /// What to say of a refusal.
    pub(crate) fn refusal(&self, refusal: Refusal) -> Notice {
        (self.refusals)(refusal)
    }
}

/// RFC 9110 section 12.5.4: `tag;q=0.8`.
fn quality_of(range: &str) -> (&str, f32) {
    let (tag, rest) = range.split_once(';').unwrap_or((range, ""));
    let quality = rest.trim().strip_prefix("q=").map_or(1.0, |text| text.trim().parse().unwrap_or(0.0));
    (tag.trim(), quality)
}

/// English.
pub(crate) static ENGLISH: Words = Words {
    lang: "en",
    skip: "Skip to the content",
    footer: "This page comes from the page guard, not from the application.",
    portal: "Your applications",
    no_apps: "No application has been granted to you. Ask its owner for it.",
    sessions: "Your sessions",
    logical_address: "Logical address",
    device: "Device",
    since: "Since",
    last_use: "Last use",
    until: "Until",
    action: "Action",
    this_one: "this one",
    sign_off: "Sign off",
    sign_in: "Sign in",
    sign_in_again: "Sign in again",
    user_name: "User name",
    password: "Password",
    form_kept: "What you filled in has been kept. After signing in you can send it.",
    form_waits: Notice {
        title: "Your form has been kept",
        meaning: "Your session had ended when you sent it, so the application has not received it.",
        next: "Send it now, or leave it: it is thrown away within an hour.",
    },
    send_it: "Send it now",
    wrong_password: "User name or password is wrong. Try again.",
    busy: "Many people are signing in at this moment. Try again.",
    wait: "Too many wrong passwords. Wait, then try again.",
    signed_off: Notice {
        title: "You are signed off",
        meaning: "Pages that are still open here can no longer do anything.",
        next: "Close this window, or sign in again.",
    },
    confirm: Notice {
        title: "Go on to the application",
        meaning: "This address was not opened from a page of the application.",
        next: "Go on if you meant to open it.",
    },
    go_on: "Go on",
    entering: Notice {
        title: "One moment",
        meaning: "This address was not opened from a page of the application. Your browser is proving that you signed in with it.",
        next: "If nothing happens, sign in again.",
    },
    no_script: "Scripts are switched off in this browser, so it can't prove that. Sign in again to go on.",
    done: Notice {
        title: "Already processed",
        meaning: "You have given this command before, from the same page. It was carried out once and is not carried out again.",
        next: "See its result. If you mean to do the same once more, say so.",
    },
    done_at: "Carried out at",
    see_result: "See the result",
    do_again: "Do it again",
    back_to_app: "Back to the application",
    ask: "Who can grant it:",
    missing: "What was asked",
    would_do: "It is granted to",
    nowhere: Notice {
        title: "There is no application here",
        meaning: "No application has been published under this name.",
        next: "Check the address.",
    },
    refusals: english,
};

fn english(refusal: Refusal) -> Notice {
    let (title, meaning, next) = match refusal {
        Refusal::SignedOff => (
            "You are signed off",
            "Your session has ended. Nothing was sent to the application.",
            "Sign in and try again.",
        ),
        Refusal::OtherSession => (
            "This page belongs to another session",
            "It was not sent to the session that you are using now. Nothing was sent to the application.",
            "Open the application again and repeat what you wanted to do.",
        ),
        Refusal::ExpiredPage => (
            "This page is too old",
            "Nothing was sent to the application.",
            "Reload the page and repeat what you wanted to do.",
        ),
        Refusal::NoPage => (
            "No page of the application asked for this",
            "A command is accepted only from a page that was sent to you. Nothing was sent to the application.",
            "Open the application and give the command there.",
        ),
        Refusal::NotPermitted => (
            "Not permitted",
            "You have no grant for this. Nothing was sent to the application.",
            "Ask for the grant if you need it.",
        ),
        Refusal::AlreadyDone => (
            "Already processed",
            "This command was given before and is not carried out again.",
            "Look at its result in the application.",
        ),
        Refusal::UnknownOutcome => (
            "Sent, outcome unknown",
            "This command, or the beginning of it, was sent to the application, and no answer came. It is not sent again.",
            "Check in the application whether it took effect. To give it again all the same, load its page anew.",
        ),
        Refusal::CrossSite => (
            "Another site asked for this",
            "A page of another site tried to give a command in your name. Nothing was sent to the application.",
            "Open the application yourself and give the command there if you want it.",
        ),
        Refusal::UpstreamDown => (
            "The application does not answer",
            "The page guard could not reach it, or it broke off.",
            "Try again in a moment. If it goes on, tell its owner.",
        ),
        Refusal::TooLarge => {
            ("Too large", "What was sent is larger than the application's owner allows.", "Send less at a time.")
        }
        Refusal::TooSlow => {
            ("Too slow", "The transfer took longer than allowed.", "Try again, on a better connection if you can.")
        }
        Refusal::Malformed => (
            "Not understood",
            "The request is malformed or ambiguous. Nothing was sent to the application.",
            "Go back and try another way.",
        ),
    };
    Notice { title, meaning, next }
}

/// Japanese.
pub(crate) static JAPANESE: Words = Words {
    lang: "ja",
    skip: "本文へ移動",
    footer: "このページはアプリケーションではなく、ページガードが表示しています。",
    portal: "利用できるアプリケーション",
    no_apps: "利用を許可されたアプリケーションがありません。管理者に許可を依頼してください。",
    sessions: "セッション",
    logical_address: "論理アドレス",
    device: "端末",
    since: "開始",
    last_use: "最終利用",
    until: "期限",
    action: "操作",
    this_one: "このセッション",
    sign_off: "サインオフ",
    sign_in: "サインイン",
    sign_in_again: "もう一度サインイン",
    user_name: "ユーザー名",
    password: "パスワード",
    form_kept: "入力した内容は保存されています。サインイン後に送信できます。",
    form_waits: Notice {
        title: "入力内容を保存しました",
        meaning: "送信時にセッションが終了していたため、アプリケーションには届いていません。",
        next: "今すぐ送信してください。送信しない場合は、1時間以内に破棄されます。",
    },
    send_it: "今すぐ送信",
    wrong_password: "ユーザー名またはパスワードが違います。もう一度入力してください。",
    busy: "サインインが混み合っています。もう一度お試しください。",
    wait: "パスワードの誤りが多すぎます。しばらく待ってからもう一度お試しください。",
    signed_off: Notice {
        title: "サインオフしました",
        meaning: "開いたままのページからは、もう何も実行できません。",
        next: "このウィンドウを閉じるか、もう一度サインインしてください。",
    },
    confirm: Notice {
        title: "アプリケーションへ進む",
        meaning: "このアドレスは、アプリケーションのページから開かれたものではありません。",
        next: "ご自身で開いた場合は進んでください。",
    },
    go_on: "進む",
    entering: Notice {
        title: "確認しています",
        meaning: "このアドレスは、アプリケーションのページから開かれたものではありません。サインインしたブラウザーであることを確認しています。",
        next: "画面が変わらない場合は、もう一度サインインしてください。",
    },
    no_script: "このブラウザーではスクリプトが無効のため、確認できません。続けるには、もう一度サインインしてください。",
    done: Notice {
        title: "処理済みです",
        meaning: "この操作は同じページからすでに行われました。一度だけ実行され、再度は実行されません。",
        next: "結果をご覧ください。同じ操作をもう一度行う場合は、下のボタンで指示してください。",
    },
    done_at: "実行時刻",
    see_result: "結果を見る",
    do_again: "もう一度実行する",
    back_to_app: "アプリケーションに戻る",
    ask: "許可できる人:",
    missing: "要求された操作",
    would_do: "許可されている対象",
    nowhere: Notice {
        title: "ここにアプリケーションはありません",
        meaning: "この名前で公開されているアプリケーションはありません。",
        next: "アドレスをご確認ください。",
    },
    refusals: japanese,
};

fn japanese(refusal: Refusal) -> Notice {
    let (title, meaning, next) = match refusal {
        Refusal::SignedOff => (
            "サインオフしています",
            "セッションは終了しました。アプリケーションには何も送られていません。",
            "サインインして、もう一度お試しください。",
        ),
        Refusal::OtherSession => (
            "別のセッションのページです",
            "このページは現在のセッションに送られたものではありません。アプリケーションには何も送られていません。",
            "アプリケーションを開き直して、操作をやり直してください。",
        ),
        Refusal::ExpiredPage => (
            "ページの有効期限が切れました",
            "アプリケーションには何も送られていません。",
            "ページを再読み込みして、操作をやり直してください。",
        ),
        Refusal::NoPage => (
            "ページを経由しない操作です",
            "操作は、あなたに送られたページからのみ受け付けます。アプリケーションには何も送られていません。",
            "アプリケーションを開いて、そこから操作してください。",
        ),
        Refusal::NotPermitted => (
            "許可されていません",
            "この操作の権限がありません。アプリケーションには何も送られていません。",
            "必要な場合は権限を依頼してください。",
        ),
        Refusal::AlreadyDone => (
            "処理済みです",
            "この操作はすでに行われており、再度は実行されません。",
            "アプリケーションで結果をご確認ください。",
        ),
        Refusal::UnknownOutcome => (
            "送信済み・結果不明",
            "この操作、またはその一部がアプリケーションに送られましたが、応答がありませんでした。再送はされません。",
            "アプリケーションで反映されたかどうかをご確認ください。それでもやり直す場合は、元のページを読み込み直してください。",
        ),
        Refusal::CrossSite => (
            "別のサイトからの操作です",
            "別のサイトのページが、あなたの名前で操作しようとしました。アプリケーションには何も送られていません。",
            "必要な場合は、ご自身でアプリケーションを開いて操作してください。",
        ),
        Refusal::UpstreamDown => (
            "アプリケーションが応答しません",
            "接続できないか、途中で切断されました。",
            "しばらくしてからお試しください。続く場合は管理者にお知らせください。",
        ),
        Refusal::TooLarge => {
            ("大きすぎます", "送信内容が、許可された大きさを超えています。", "分けて送信してください。")
        }
        Refusal::TooSlow => {
            ("時間切れです", "転送に時間がかかりすぎました。", "接続を確かめて、もう一度お試しください。")
        }
        Refusal::Malformed => (
            "理解できない要求です",
            "要求の形式が正しくないか、あいまいです。アプリケーションには何も送られていません。",
            "前のページに戻り、別の方法でお試しください。",
        ),
    };
    Notice { title, meaning, next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn the_browsers_language() {
        for (wanted, lang) in [
            ("", "en"),
            ("ja", "ja"),
            ("ja-JP,ja;q=0.9,en;q=0.8", "ja"),
            ("en-GB,ja;q=0.9", "en"),
            ("de,ja;q=0.3", "ja"),
            ("de", "en"),
            ("ja;q=0", "en"),
            ("en;q=0.2, ja;q=0.4", "ja"),
            ("ja;q=nonsense", "en"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_str(wanted).unwrap());
            assert_eq!(Words::of(&headers).lang, lang, "{wanted}");
        }
    }
}
