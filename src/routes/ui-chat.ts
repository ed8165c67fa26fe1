/** The backend that `useChat` of the AI SDK expects: a chat's answer as a UI message stream, resumable and stoppable. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Fault } from "../core/errors.ts";
import type { JsonRecord } from "../dialect/json.ts";
import { chatMessages, continuedMessage, takeApart, UiMessageError } from "../dialect/ui-request.ts";
import { generationObject } from "../transport/encoding.ts";
import { type FaultAnswer, faultAnswer } from "./faults.ts";
import { type Follow, followAsEvents } from "./follow.ts";
import { bodyOf, type House, mount, startOverHttp } from "./house.ts";
import { CHAT, parseObject } from "./request.ts";
import { type ChatAnswer, Chats } from "./ui-chats.ts";
import { UI_STREAM_HEADERS, uiMessageStream } from "./ui-stream.ts";

const PATH = "/api/chat";
/** Characters of a chat's id. */
const MAX_CHAT_ID = 255;

export function uiChatRoutes(app: FastifyInstance, house: House): void {
  const chats = new Chats();
  house.gateway.onForgotten((generation) => chats.forget(generation));
  mount(app, PATH, { POST: (request, reply) => answer(house, chats, request, reply) }, "sse");
  mount(app, `${PATH}/:id/stream`, { GET: (request, reply) => resume(house, chats, request, reply) });
  mount(app, `${PATH}/:id/stop`, { POST: (request, reply) => stop(chats, request, reply) });
}

const invalid = (param: string, message: string): Fault => new Fault("invalid_request", { message, param });

async function answer(
  house: House,
  chats: Chats,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { id, messages, body } = takeApart(parseObject(bodyOf(request)));
  if (typeof id !== "string" || id === "" || id.length > MAX_CHAT_ID)
    throw invalid("id", `id must be a chat's id of 1 to ${MAX_CHAT_ID} characters.`);
  if (!Array.isArray(messages)) throw invalid("messages", "messages must be an array.");
  const { generation, isAttached } = await startOverHttp(house, request, {
    endpoint: CHAT,
    body: Buffer.from(JSON.stringify({ ...body, messages: converted(messages), stream: true })),
    impliesStream: true,
    defaultPolicy: "grace",
    transport: () => "sse",
  });
  const latest: ChatAnswer = { generation, messageId: continuedMessage(messages) ?? generation.id };
  chats.keep(request.owner, id, latest);
  follow(house, reply, latest, { earlyHeadersMs: house.limits.earlyHeadersMs, isFirstHand: !isAttached });
  return reply;
}

function converted(messages: readonly unknown[]): JsonRecord[] {
  try {
    return chatMessages(messages);
  } catch (thrown) {
    throw thrown instanceof UiMessageError ? invalid(thrown.param, thrown.message) : thrown;
  }
}

/** The running answer of a chat, from its start; 204 where there is none, which `useChat` takes as such. */
function resume(house: House, chats: Chats, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { ended } = request.query as Record<string, unknown>;
  if (ended !== undefined && ended !== "replay") throw invalid("ended", "ended must be replay.");
  const latest = latestOf(chats, request);
  if (latest === undefined || (latest.generation.isEnded && ended === undefined))
    return reply.code(204).send();
  follow(house, reply, latest, { isFirstHand: false });
  return reply;
}

function stop(chats: Chats, request: FastifyRequest, reply: FastifyReply): unknown {
  const latest = latestOf(chats, request);
  if (latest === undefined) return reply.code(204).send();
  const { generation } = latest;
  generation.cancel("cancelled");
  reply.header("x-generation-id", generation.id);
  return generationObject(generation);
}

const latestOf = (chats: Chats, request: FastifyRequest): ChatAnswer | undefined =>
  chats.latest(request.owner, (request.params as { id: string }).id);

function follow(
  house: House,
  reply: FastifyReply,
  { generation, messageId }: ChatAnswer,
  how: Pick<Follow, "earlyHeadersMs" | "isFirstHand">,
): void {
  followAsEvents(reply, generation, {
    encoding: uiMessageStream(messageId),
    limits: house.limits,
    after: 0,
    tellsPosition: false,
    headers: { ...UI_STREAM_HEADERS },
    faultAnswer: faultAsText,
    ...how,
  });
}

/** Whether a request is one of `useChat`: it shows the body of an error as it is. */
export const isUiChat = ({ routeOptions: { url } }: FastifyRequest): boolean =>
  url === PATH || url?.startsWith(`${PATH}/`) === true;

/** The answer for a fault whose body is what people are shown: the message alone, with the status and headers of any other. */
export function faultAsText(fault: Fault): FaultAnswer {
  const { status, headers } = faultAnswer(fault);
  return {
    status,
    headers: { ...headers, "content-type": "text/plain; charset=utf-8", "x-sluice-error": fault.code },
    body: Buffer.from(fault.toObject().message),
  };
}
