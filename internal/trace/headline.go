// SPDX-License-Identifier: Apache-2.0

package trace

import "fmt"

// Headline returns the verdict of the flow in a few words.
func (f FlowReport) Headline() string {
	last := f.Legs[len(f.Legs)-1]
	through := ", bypassing the proxy"
	switch {
	case f.ViaProxy:
		through = " through the proxy"
	case f.From == FromPod:
		through = ""
	}
	switch f.Ending {
	case EndingGuest:
		return "Reached the guest" + through + f.Answer.ending()
	case EndingOutside:
		return "Left the pod" + through + f.Answer.ending()
	case EndingProxyInbound, EndingProxyOutbound:
		return "Ended at the proxy, which opened no connection" + f.Answer.ending()
	case EndingPod:
		return "Reached a process in the pod" + f.Answer.ending()
	case EndingNoListener:
		return fmt.Sprintf("Refused: nothing listens at %s in the pod", last.To())
	case EndingDropped:
		if f.DroppedBy != nil {
			return fmt.Sprintf("Dropped by %s in chain %s", f.DroppedBy.Writer, f.DroppedBy.Chain)
		}
		return "Dropped"
	case EndingUnknown:
		fallthrough
	default:
		return "The end was not seen"
	}
}

// ending returns an exception for a headline.
func (a Answer) ending() string {
	switch a {
	case AnswerRefused:
		return "; it was refused there"
	case AnswerNone:
		return "; no answer"
	case AnswerYes, AnswerUnknown:
		fallthrough
	default:
		return ""
	}
}

// To returns the destination after all translations.
func (l Leg) To() string {
	if l.TranslatedDestination != "" {
		return l.TranslatedDestination
	}
	return l.Destination
}

// From returns the source after all translations.
func (l Leg) From() string {
	if l.TranslatedSource != "" {
		return l.TranslatedSource
	}
	return l.Source
}
