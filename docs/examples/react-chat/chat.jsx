import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useEffect } from "react";

const gateway = new URLSearchParams(location.search).get("gateway") ?? ""; // none: where this page is from
const id = "a-chat"; // one for each conversation
const stored = JSON.parse(localStorage.getItem(id) ?? "[]");
const transport = new DefaultChatTransport({
  api: `${gateway}/api/chat`,
  body: { model: "sluice-demo" },
  prepareReconnectToStreamRequest: () => ({ api: `${gateway}/api/chat/${id}/stream?ended=replay` }),
});

export function Chat() {
  const chat = useChat({ id, messages: stored, resume: stored.length > 0, transport });
  useEffect(() => localStorage.setItem(id, JSON.stringify(chat.messages)), [chat.messages]);
  const stop = () => Promise.all([fetch(`${gateway}/api/chat/${id}/stop`, { method: "POST" }), chat.stop()]);
  const textOf = ({ parts }) => parts.map((part) => (part.type === "text" ? part.text : "")).join("");
  return (
    <main data-status={chat.status}>
      {chat.messages.map((message) => (
        <p key={message.id} className={message.role}>
          {textOf(message)}
        </p>
      ))}
      {chat.error && <p role="alert">{chat.error.message}</p>}
      <button type="button" onClick={() => chat.sendMessage({ text: "Tell me of locks." })}>
        Ask
      </button>
      <button type="button" onClick={stop}>
        Stop
      </button>
    </main>
  );
}
