// socket.io-client, as a program of somebody's would use it: follows the queue until a job is completed. Address and token
// come from the environment.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { io } = require("socket.io-client");

const socket = io(process.env.STUDIO_URL, { path: "/ws/socket.io", auth: { token: process.env.STUDIO_TOKEN } });
const events = [];
socket.onAny((name, data) => {
  events.push([name, data.event_id]);
  if (name === "job_completed") {
    console.log(JSON.stringify(events));
    socket.close();
  }
});
socket.on("connect_error", (error) => {
  console.error(error.message, JSON.stringify(error.data));
  process.exit(1);
});
socket.on("connect", async () => {
  const answer = await socket.emitWithAck("subscribe_queue", { queue_id: "default" });
  console.error("subscribed", JSON.stringify(answer));
});
