import { type ComponentProps, type KeyboardEvent, useState } from "react";
import { TextArea } from "@/components/ui";
import { isComposing, submits } from "../submitKey";
import { sentPrompts, Walk } from "./history";
import { reweighted } from "./weighting";

type Props = Omit<ComponentProps<typeof TextArea>, "value" | "onChange" | "onKeyDown" | "maxLength"> & {
  value: string;
  onText: (text: string) => void;
  onSubmit: () => void;
  /** Whether Alt+Up and Alt+Down walk through the prompts that were sent. */
  hasHistory?: boolean;
};

const LONGEST = 2000;

/** A field for a prompt. Ctrl+Up and Ctrl+Down weigh the selected words, Ctrl+Enter submits. */
export function PromptArea({ value, onText, onSubmit, hasHistory = false, ...rest }: Props) {
  const [walk] = useState(() => new Walk(sentPrompts));

  function press(event: KeyboardEvent<HTMLTextAreaElement>) {
    const { key, ctrlKey, metaKey, altKey, shiftKey, currentTarget: field } = event;
    if (isComposing(event.nativeEvent)) return;
    if (submits(event.nativeEvent)) {
      event.preventDefault();
      onSubmit();
      return;
    }
    const direction = key === "ArrowUp" ? 1 : key === "ArrowDown" ? -1 : undefined;
    if (direction === undefined || shiftKey) return;
    if (altKey && !ctrlKey && !metaKey && hasHistory) {
      event.preventDefault();
      const prompt = walk.step(field.value, direction);
      if (prompt !== undefined) onText(prompt);
    } else if ((ctrlKey || metaKey) && !altKey) {
      event.preventDefault();
      weigh(field, direction);
    }
  }

  return (
    <TextArea
      {...rest}
      maxLength={LONGEST}
      value={value}
      onChange={(event) => onText(event.target.value)}
      onKeyDown={press}
    />
  );
}

function weigh(field: HTMLTextAreaElement, direction: 1 | -1): void {
  const { value: text, selectionStart: start, selectionEnd: end } = field;
  const change = reweighted({ text, start, end }, direction);
  if (!change || text.length - (change.to - change.from) + change.insert.length > LONGEST) return;
  field.setSelectionRange(change.from, change.to);
  // No other way of writing can be taken back with Ctrl+Z.
  document.execCommand("insertText", false, change.insert);
  field.setSelectionRange(change.start, change.end);
}
