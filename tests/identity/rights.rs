//! Who may do what with these tables: the application what it needs, everybody else nothing.

use super::Ground;

/// By table: what the application may do to all columns, and to some.
const GRANTED: [(&str, &str, &str); 13] = [
    ("access_log", "INSERT SELECT", ""),
    ("cut_offs", "DELETE INSERT SELECT", ""),
    ("factor_secrets", "DELETE INSERT SELECT", "key_id last_step sealed"),
    ("one_time_links", "DELETE INSERT SELECT", "about expires_at hash made_at used_at"),
    ("password_secrets", "DELETE INSERT SELECT", "hash"),
    ("recovery_codes", "DELETE INSERT SELECT", "used_at"),
    (
        "sessions",
        "DELETE INSERT SELECT",
        "address agent ended_at ended_by level membership secret_hash seen_at stepped_up_until",
    ),
    ("sign_in_failures", "DELETE INSERT SELECT UPDATE", ""),
    ("sign_in_origins", "DELETE INSERT SELECT UPDATE", ""),
    ("sign_in_refusals", "DELETE INSERT SELECT UPDATE", ""),
    ("sign_up_counts", "DELETE INSERT SELECT UPDATE", ""),
    ("sign_ups", "DELETE INSERT SELECT", ""),
    ("token_secrets", "DELETE INSERT SELECT", "last_used_at last_used_from"),
];

#[tokio::test]
async fn the_application_may_do_what_it_needs_and_nobody_else_anything() {
    let ground = Ground::new().await;
    for (table, whole, columns) in GRANTED {
        let granted: Vec<(String, String)> = sqlx::query_as(
            "select case acl.grantee when 0 then 'public' else pg_get_userbyid(acl.grantee)::text end,
                 string_agg(acl.privilege_type, ' ' order by acl.privilege_type)
             from pg_class relation, aclexplode(relation.relacl) acl
             where relation.oid = $1::regclass and acl.grantee <> relation.relowner
             group by 1",
        )
        .bind(table)
        .fetch_all(ground.database.pool())
        .await
        .unwrap();
        assert_eq!(granted, [("daybook_app".to_owned(), whole.to_owned())], "{table}");
        let of_columns: Vec<(String, String, String)> = sqlx::query_as(
            "select pg_get_userbyid(acl.grantee)::text, acl.privilege_type::text,
                 string_agg(attribute.attname, ' ' order by attribute.attname)
             from pg_attribute attribute, aclexplode(attribute.attacl) acl
             where attribute.attrelid = $1::regclass
             group by 1, 2",
        )
        .bind(table)
        .fetch_all(ground.database.pool())
        .await
        .unwrap();
        let expected = (!columns.is_empty()).then(|| ("daybook_app".into(), "UPDATE".into(), columns.to_owned()));
        assert_eq!(of_columns, expected.into_iter().collect::<Vec<_>>(), "{table}");
    }
}

#[tokio::test]
async fn the_functions_of_the_access_log_are_for_those_who_need_them() {
    let ground = Ground::new().await;
    for (function, grantees) in [("access_log_month", &["daybook_app"][..]), ("access_log_forget", &[])] {
        let may: Vec<String> = sqlx::query_scalar(
            "select case acl.grantee when 0 then 'public' else pg_get_userbyid(acl.grantee)::text end
             from pg_proc function, aclexplode(function.proacl) acl
             where function.proname = $1 and acl.grantee <> function.proowner",
        )
        .bind(function)
        .fetch_all(ground.database.pool())
        .await
        .unwrap();
        assert_eq!(may, grantees, "{function}");
    }
}
