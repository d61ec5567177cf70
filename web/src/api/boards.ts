/** The service of boards. */

import { createClient } from "@connectrpc/connect";
import { BoardService } from "@/gen/pingvas/gallery/v1/board_service_pb";
import { transport } from "./transport";

export const boards = createClient(BoardService, transport);
