//! S59: what a person of a customer who is not its superuser sees, and what not.

use daybook_api::{Need, needs};
use daybook_core::domain::{
    Party,
    function::{Function, Role},
    user::MembershipChange as M,
};
use daybook_tests::{
    api::{Answer, TestApp, address},
    history::LONG,
    people::Person,
};
use serde_json::{Value, json};

use super::world::money;

/// What an accountant of a customer needs: documents and money.
const ACCOUNTANT: [Function; 7] = [
    Function::AccountsRead,
    Function::CreditNotesRead,
    Function::CustomersRead,
    Function::ExpensesRead,
    Function::InvoicesRead,
    Function::PayersRead,
    Function::PaymentsRead,
];

async fn done(app: &TestApp, by: &Person, path: &str, body: Value) -> String {
    let answer = app.post_by(by, path, body).await;
    assert!(answer.status < 300, "{path}: {}", answer.text);
    answer.body["id"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn s59_an_accountant_sees_documents_and_money_and_neither_orders_nor_sees_tickets() {
    let app = TestApp::guarded().await;
    let customer = app.customer("Ada Ltd").await;
    let party = Party::Customer(customer.clone());
    let anna = app.person("anna", &Party::Provider, vec![M::GrantRole(Role::Staff)]).await;
    let accountant = app.person("accountant", &party, ACCOUNTANT.map(M::GrantFunction).to_vec()).await;

    let account = json!({ "customer": customer, "currency": "USD", "name": "Main" });
    let account = done(&app, &anna, "/v1/accounts", account).await;
    let address_of_payer = json!({ "country": "DE", "city": "Berlin", "street": "Old Street 1" });
    let payer = json!({ "customer": customer, "kind": "company", "name": "Ada Ltd", "address": address_of_payer });
    let payer = done(&app, &anna, "/v1/payers", payer).await;
    let line = json!({
        "item": "vps", "description": "a server", "quantity": "1", "unit_price": "12.00", "tax_rate": "0",
    });
    let invoice = json!({
        "account": account, "payer": payer, "issued_on": "2026-04-01", "due_in_days": 14, "lines": [line],
    });
    let invoice = done(&app, &anna, "/v1/invoices", invoice).await;
    let payment = json!({ "account": account, "amount": money("12.00", "USD"), "method": "card" });
    let payment = done(&app, &anna, "/v1/payments", payment).await;
    done(&app, &anna, &format!("/v1/payments/{payment}/credit"), json!({})).await;
    let (subject, message) = ("quaternion", "the hidden message of a ticket");
    let ticket = json!({ "customer": customer, "category": "technical", "subject": subject, "message": message });
    let ticket = done(&app, &anna, "/v1/tickets", ticket).await;
    for projection in ["invoices", "payments", "account_statement", "accounts", "tickets"] {
        app.app().reader().wait_for(projection, app.position().await, LONG).await.unwrap();
    }

    // Invoices, payments and the statement, also as a file.
    let sees = async |path: &str| {
        let answer = app.read_by(&accountant, path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer
    };
    assert_eq!(sees("/v1/invoices").await.body["data"][0]["id"], invoice.as_str());
    assert_eq!(sees(&format!("/v1/invoices/{invoice}")).await.body["account"], account.as_str());
    assert_eq!(sees("/v1/payments").await.body["data"][0]["id"], payment.as_str());
    let statement = sees(&format!("/v1/accounts/{account}/statement")).await;
    assert_eq!(statement.body["lines"].as_array().map(Vec::len), Some(2), "{}", statement.text);
    assert!(sees(&format!("/v1/accounts/{account}/statement?format=csv")).await.text.contains("12.00"));

    // Ordering is refused, and so is whatever else changes something.
    let item = json!({ "product": "vps", "description": "a server", "quantity": "1", "unit_price": "1.00" });
    let order = json!({ "account": account, "description": "one more", "items": [item] });
    let refused = app.post_by(&accountant, "/v1/orders", order).await;
    assert_eq!(refused.refused(403, "forbidden-by-role")["function"], "orders.place");
    for (method, path, need) in needs() {
        if let (false, Need::May(_)) = (method == "get" || path.starts_with("/v1/invoices/{id}"), need) {
            let answer = app.by(&accountant, method.to_uppercase().parse().unwrap(), &address(path)).json(&json!({}));
            Answer::to(answer).await.refused(403, "forbidden-by-role");
        }
    }

    // Tickets are hidden: there is none of it in anything that the accountant can read.
    let tickets = [format!("/v1/tickets/{ticket}"), format!("/v1/history?entity={ticket}")];
    for path in ["/v1/tickets", &tickets[0], &tickets[1], "/v1/access-log", "/v1/audit/events", "/metrics"] {
        app.read_by(&accountant, path).await.refused(403, "forbidden-by-role");
    }
    let mut shown = 0;
    for (method, path, _) in needs() {
        let ours = address(path)
            .replace("cus_1", customer.as_str())
            .replace("acc_1", &account)
            .replace("pyr_1", &payer)
            .replace("inv_1", &invoice)
            .replace("pay_1", &payment)
            .replace("usr_1", accountant.user.as_str());
        if method == "get" {
            let answer = app.read_by(&accountant, &ours).await;
            for hidden in [&ticket, subject, message] {
                assert!(!answer.text.contains(hidden), "{path} shows `{hidden}`: {}", answer.text);
            }
            shown += usize::from(answer.status == 200);
        }
    }
    assert!(shown > 15, "{shown}");
    let seen = app.read_by(&anna, &tickets[0]).await;
    assert!([&ticket, subject, message].iter().all(|text| seen.text.contains(*text)), "staff sees it: {}", seen.text);
}
